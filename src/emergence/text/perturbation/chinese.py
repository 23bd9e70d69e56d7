"""Chinese as it is mistyped: characters of the same sound or a like shape, and the other script."""

from __future__ import annotations

import numpy as np

from emergence.text.folding import folding_into
from emergence.text.perturbation.known_words import telling_words

__all__ = ["CHARACTER_SHARE", "homophones", "lookalikes", "script"]

CHARACTER_SHARE = 0.05  # of the characters of a text

#: Groups of common characters with one sound, whatever the tone, and of such as look alike; none is a negation.
_SAME_SOUND = """
的地得 在再 做作 他她它 哪那 像象向 以已意 带戴 座坐 到道 是事式 进近 园圆员 因音 常长场 公工功 同童 明名 城成程 义易
时实 电店 话画化 见件建 生声 新心 先鲜 前钱 气汽 力利立 由油 元原 期其 身深 题提 只支枝 记计 年念 和河合 里理礼 有友又
家加 小晓 红洪 清青轻 星兴 书输 买卖 花华 高糕 面棉 请情 住主 说硕 天添 看刊 听厅 从丛 走奏 字自 美每 影应 很狠
個各 說碩 時實 電店 話畫 見建 進近 園圓 長常 後厚 裡理 過國 學雪 書輸 買賣 請情 聽廳 從叢
"""
_LIKE_SHAPE = """
己已 人入 土士 日曰 大太 天夫 千干 午牛 木本 今令 刀力 目自 王玉 田由 甲申 间问 师帅 住往 拔拨 折拆 晴睛 清情 侍待 孤狐
密蜜 历厉 幻幼 乌鸟 免兔 贷货 喝渴 根跟 饮饭 候侯 竟竞 徒徙 的旳 科料 晚挽 话活 见贝 风凤 老考 休体 处外 问间 买卖 具真
問間 師帥 貸貨 鳥烏 話活 見貝 飲飯 買賣
"""


def _others(groups: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for group in groups.split():
        for character in group:
            rest = found.get(character, "") + group
            found[character] = "".join(dict.fromkeys(rest.replace(character, "")))
    return found


_SOUNDS, _SHAPES = _others(_SAME_SOUND), _others(_LIKE_SHAPE)


def homophones(text: str, rng: np.random.Generator) -> str:
    """Write n characters as others of the same sound (在 as 再), as one does who types by pinyin.

    n is `CHARACTER_SHARE` of the Chinese characters, at least 1. No word of praise, blame or negation comes about.
    """
    return _replaced(text, _SOUNDS, rng)


def lookalikes(text: str, rng: np.random.Generator) -> str:
    """Write n characters as others of a like shape (己 as 已); as `homophones` otherwise."""
    return _replaced(text, _SHAPES, rng)


def _replaced(text: str, others: dict[str, str], rng: np.random.Generator) -> str:
    letters = list(text)
    places = [i for i, letter in enumerate(letters) if letter in others]
    left = max(1, round(CHARACTER_SHARE * sum(letter >= "\u3400" for letter in letters)))
    telling = telling_words(text)
    for place in (places[int(i)] for i in rng.permutation(len(places))):
        if not left:
            break
        before, options = letters[place], others[letters[place]]
        letters[place] = options[int(rng.integers(len(options)))]
        if telling_words("".join(letters)) > telling:
            letters[place] = before
        else:
            left -= 1
    return "".join(letters)


def script(text: str, rng: np.random.Generator) -> str:
    """Write simplified Chinese in traditional characters and the reverse. Raises UserError where OpenCC is missing."""
    simplified = folding_into("simplified")(text)
    return simplified if simplified != text else folding_into("traditional")(text)
