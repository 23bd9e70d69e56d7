"""English synonyms, one group a line: words that may stand for each other and praise, blame or measure alike.

An own list of common adjectives, adverbs and verbs. A group has one part of speech and one form, so that the grammar of
a sentence holds; a word is in one group alone, in the sense that is the most usual in reviews, news and stories.
"""

from __future__ import annotations

__all__ = ["ENGLISH_GROUPS"]

ENGLISH_GROUPS = """
good fine decent solid
great excellent superb terrific splendid outstanding
wonderful marvelous fantastic fabulous amazing
beautiful lovely gorgeous
attractive handsome
nice pleasant agreeable
funny hilarious amusing comical
clever smart intelligent
brilliant ingenious inspired
charming delightful enchanting engaging
touching moving poignant
gripping absorbing riveting compelling thrilling
exciting stirring rousing
interesting intriguing fascinating
enjoyable entertaining
fresh original inventive
powerful forceful mighty
honest sincere truthful
warm tender gentle
friendly amiable
tasty delicious flavorful
clean spotless tidy
happy glad cheerful joyful
lucky fortunate
perfect flawless faultless
impressive striking remarkable
talented gifted skilled
graceful elegant refined
vivid lively spirited
rich lavish
reliable dependable trustworthy
helpful useful valuable
successful effective
memorable unforgettable
bad poor lousy
awful terrible horrible dreadful horrid
boring dull tedious tiresome
stupid foolish silly dumb
ugly hideous unsightly
nasty unpleasant vile
dirty filthy grimy
rude impolite discourteous
clumsy inept
bland insipid tasteless
stale trite hackneyed
shabby tatty scruffy
cruel brutal merciless
angry furious irate
sad unhappy sorrowful gloomy
scary frightening terrifying
weak feeble frail
shallow superficial
pointless futile useless senseless
absurd ridiculous ludicrous preposterous
predictable formulaic
confusing baffling bewildering puzzling
annoying irritating grating
disappointing unsatisfying underwhelming
messy sloppy disorderly
pretentious pompous
lazy idle
dishonest deceitful
dangerous hazardous perilous
harmful damaging
difficult hard tough
broken damaged
expensive costly pricey
cheap inexpensive
big large sizable
huge enormous immense gigantic vast
small little
tiny minuscule minute
tall high
wide broad
quick fast rapid swift
slow unhurried
old aged elderly
ancient archaic
new recent
modern contemporary
strange odd weird peculiar
common ordinary usual
famous renowned celebrated
wealthy affluent prosperous
needy impoverished
quiet silent hushed
loud noisy
calm peaceful tranquil serene
busy occupied
easy simple effortless
clear plain evident
true accurate correct
wrong incorrect mistaken
important significant crucial essential
serious grave
whole entire complete
main chief principal primary
certain sure
possible feasible
enough sufficient adequate
empty vacant
strong sturdy robust
brave courageous bold daring
shy timid bashful
tired weary exhausted
sick ill unwell
cold chilly
hot scorching
wet damp moist
dark dim murky
different distinct
similar alike
secret hidden concealed
violent savage
romantic amorous
dramatic theatrical
very really extremely truly
quite rather fairly
slightly somewhat marginally
completely totally entirely utterly
almost nearly practically
often frequently regularly
sometimes occasionally
always constantly
quickly rapidly swiftly speedily
slowly gradually
suddenly abruptly
finally eventually ultimately
probably likely presumably
perhaps maybe possibly
mostly mainly chiefly largely
simply merely
especially particularly notably
clearly plainly obviously evidently
easily effortlessly
badly poorly
beautifully gracefully
surely certainly undoubtedly
exactly precisely
immediately instantly
together jointly
however nevertheless
therefore thus hence
begin start commence
begins starts commences
began started commenced
ended finished concluded
buy purchase
bought purchased
help assist aid
helps assists aids
helped assisted aided
showed displayed
make create
makes creates
made created
want desire
wants desires
wanted desired
needed required
enjoy relish savor
enjoys relishes savors
enjoyed relished savored
loved adored
hate loathe detest
hates loathes detests
hated loathed detested
admire respect
admires respects
admired respected
annoy irritate
annoys irritates
annoyed irritated
scare frighten
scares frightens
scared frightened
surprises astonishes
surprised astonished
improve enhance
improves enhances
improved enhanced
ruin spoil wreck
ruins spoils wrecks
ruined spoiled wrecked
wasted squandered
try attempt
tries attempts
tried attempted
choose select pick
chooses selects picks
chose selected picked
keep retain
keeps retains
kept retained
ask inquire
asked inquired
answered replied responded
speak talk
speaks talks
spoke talked
shouted yelled
happen occur
happens occurs
happened occurred
appears seems
looked appeared seemed
think believe suppose
thinks believes supposes
thought believed supposed
understand comprehend grasp
understands comprehends grasps
understood comprehended grasped
build construct
builds constructs
built constructed
changed altered modified
fix repair mend
fixes repairs mends
fixed repaired mended
gather collect assemble
gathers collects assembles
gathered collected assembled
hide conceal
hides conceals
travel journey
wander roam
wanders roams
wandered roamed
film movie picture
films movies pictures
story tale narrative
stories tales narratives
actor performer
actors performers
children kids
child kid
job occupation
mistake error
mistakes errors
trouble difficulty
house home
street road
doctor physician
car automobile
cars automobiles
"""
