"""Chinese names of people that nobody has named."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tapetum.archive.deidentify.text.spans import Span

_CHINESE_CUE = re.compile(
    r"(?:姓名|患者姓名|病人姓名|患者|病人|联系人|报告医[生师]|审核医[生师]|检查医[生师]|主治医[生师]|申请医[生师]|操作者|技师|签名|医[生师]签[名字]|"
    r"家属)\s?[:：]\s?(?P<n>[\u4e00-\u9fff]{2,4}(?:·[\u4e00-\u9fff]{1,8})?)"
)
_CHINESE_TITLE = re.compile(
    r"(?P<n>[\u4e00-\u9fff]{1,3})(?=\s?(?:先生|女士|小姐|医生|医师|大夫|主任|教授|护士长|护士|技师))"
)
_CHINESE_AFTER = re.compile(
    r"(?:患者|病人|家属)(?P<n>[\u4e00-\u9fff]{2,3})(?=[，,、。（(\s男女]|今|于|因|诉|来|就|的|主)"
)


def find_chinese(text: str, families: frozenset[str]) -> Iterator[Span]:
    """Chinese names: after a label, before a title, or after the word for patient.

    Args:
        text: any text.
        families: Chinese family names.

    Example:
        >>> [s.why for s in find_chinese("报告医生：李娜", frozenset("李"))]
        ['after a Chinese label for a name']
    """
    for match in _CHINESE_CUE.finditer(text):
        name = re.split(r"(?:性别|男|女|年龄|科室|日期|电话)", match["n"])[0]
        if len(name) >= 2:
            yield Span(match.start("n"), match.start("n") + len(name), "PERSON", "after a Chinese label for a name")
    for pattern, why in (
        (_CHINESE_TITLE, "before a Chinese title"),
        (_CHINESE_AFTER, "after the Chinese word for patient"),
    ):
        for match in pattern.finditer(text):
            name = match["n"]
            for size in (3, 2, 1):
                tail = name[-size:] if why.startswith("before") else name[:size]
                if size > len(name) or tail[:1] not in families or (why.startswith("after") and size < 2):
                    continue
                shift = match.end("n") - size if why.startswith("before") else match.start("n")
                yield Span(shift, shift + size, "PERSON", why)
                break
