from __future__ import annotations

import torch

from robustnb.data import mail_texts, mails, vocabulary, word_counts

HAM = b"From: a\r\nSubject: tea\r\n at four\r\nX-Spam: no\r\n\r\nCome to <b>tea</b>, come!\r\n"
FILES = {f"package/data/easy-ham-1/{k:05}.txt": HAM for k in range(4)} | {
    f"package/data/spam-1/{k:05}.txt": b"no headers here" for k in range(6)
}


def rows() -> torch.Tensor:
    return torch.from_numpy(mails.splits(FILES)["train"][0])


def test_every_fifth_mail_by_name_is_for_tests_and_the_folder_is_the_label() -> None:
    made = mails.splits(FILES)
    assert [len(made[split][1]) for split in ("train", "test")] == [8, 2]
    assert made["train"][1].tolist() == [0, 0, 0, 0, 3, 3, 3, 3]
    assert made["train"][0].shape == (8, 1, 1, mails.BYTES)


def test_a_text_is_subject_and_body_without_the_other_headers() -> None:
    assert mail_texts(rows())[0] == "tea\n at four\nCome to <b>tea</b>, come!\n"


def test_a_mail_without_a_body_is_an_empty_line() -> None:
    assert mail_texts(rows())[-1] == "\n"


def test_a_long_mail_is_cut() -> None:
    long = {"package/data/spam-1/1.txt": b"\n\n" + 9000 * b"x"}
    assert len(mail_texts(torch.from_numpy(mails.splits(long)["train"][0]))[0]) == mails.BYTES


def test_words_are_counted_without_markup() -> None:
    texts = mail_texts(rows())
    words = vocabulary(texts, most=10, least=2)
    assert words == ["come", "four", "tea"]
    assert word_counts(texts[:1], words).tolist() == [[2.0, 1.0, 2.0]]


def test_a_vocabulary_keeps_the_most_frequent_words_and_drops_rare_ones() -> None:
    texts = ["tea tea milk", "tea cake", "milk tea"]
    assert vocabulary(texts, most=1, least=1) == ["tea"]
    assert vocabulary(texts, most=9, least=2) == ["milk", "tea"]
