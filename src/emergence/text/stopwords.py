"""Words that say little of what a text is about, in English and Chinese (both scripts, modern and classical).

An own short list by parts of speech. Lists in use differ widely, and what they leave out changes results (Nothman, Qin
and Yurchak 2018, doi 10.18653/v1/W18-2502); this one holds nothing but grammar.
"""

from __future__ import annotations

__all__ = ["STOP_WORDS"]

_ENGLISH = """
a an the this that these those such some any each every no other another same own both all few more most many much
i me my mine myself you your yours yourself yourselves he him his himself she her hers herself it its itself
we us our ours ourselves they them their theirs themselves one ones who whom whose which what
thou thee thy thine thyself ye hath doth hast dost art shalt wilt 'tis tis
be am is are was were been being have has had having do does did doing done
will would shall should can could may might must ought cannot
and or but nor so yet if then else than as because while when where why how whether though although unless until since
of to in on at by for from with without within into onto upon out off over under above below between among through
during before after against about around across along toward towards up down again further
not only just also too very quite even still ever never here there now once
aren't can't couldn't didn't doesn't don't hadn't hasn't haven't he'd he'll he's i'd i'll i'm i've isn't it's let's
she'd she'll she's shouldn't that's there's they'd they'll they're they've wasn't we'd we'll we're we've weren't
what's who's won't wouldn't you'd you'll you're you've
"""

#: Where the scripts differ, the traditional form follows the simplified one.
_CHINESE = """
的 地 得 了 着 著 过 過 们 們 吗 嗎 呢 吧 啊 呀 哦 嘛 么 麼
我 你 您 他 她 它 我们 我們 你们 你們 他们 他們 她们 她們 它们 它們 自己 咱们 咱們 大家
这 這 那 哪 这个 這個 那个 那個 这些 這些 那些 这里 這裡 那里 那裡 这样 這樣 那样 那樣 某 各 每
谁 誰 什么 什麼 怎么 怎麼 怎样 怎樣 为什么 為什麼 多少 几 幾
是 有 在 会 會 能 可 可以 要 想 应该 應該 必须 必須 没 沒 没有 沒有 不 不是 别 別
和 与 與 及 以及 或 或者 还是 還是 而 而且 并 並 并且 並且 但 但是 可是 不过 不過 然而 因为 因為 所以 因此 如果
若 虽然 雖然 即使 只要 只有 除了 于是 於是 然后 然後
把 被 给 給 让 讓 对 對 对于 對於 从 從 自 到 向 往 由 以 为 為 比 跟 同 用 按 于 於 之
上 下 里 裡 中 内 內 外 前 后 後 时 時
也 都 又 还 還 再 就 才 只 很 太 更 最 非常 已 已经 已經 正在 曾 将 將 却 卻 便 等 等等
一 一个 一個 一些 一样 一樣 个 個 些 种 種 次
者 其 乎 哉 矣 焉 耳 兮 吾 汝 尔 爾 此 彼 何 所 则 則 乃 且 夫 盖 蓋 皆 亦 既 未 无 無 莫 勿 曰 云 也者 而已
"""

#: In lower case.
STOP_WORDS: frozenset[str] = frozenset((_ENGLISH + _CHINESE).split())
