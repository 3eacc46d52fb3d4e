"""Countries by what data calls them: the two letters of ISO 3166-1, its three letters, and the English names.

A table of our own, so that what a vendor's versioned profile makes of a country changes with that version alone.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Final

#: A country a line: alpha-2, alpha-3, and its names in lower-case letters without spaces and accents.
_TABLE: Final = """
ad and andorra principalityofandorra
ae are unitedarabemirates uae
af afg afghanistan islamicrepublicofafghanistan
ag atg antiguaandbarbuda
ai aia anguilla
al alb albania republicofalbania
am arm armenia republicofarmenia
ao ago angola republicofangola
aq ata antarctica
ar arg argentina argentinerepublic
as asm americansamoa
at aut austria republicofaustria
au aus australia
aw abw aruba
ax ala alandislands
az aze azerbaijan republicofazerbaijan
ba bih bosniaandherzegovina republicofbosniaandherzegovina
bb brb barbados
bd bgd bangladesh peoplesrepublicofbangladesh
be bel belgium kingdomofbelgium
bf bfa burkinafaso
bg bgr bulgaria republicofbulgaria
bh bhr bahrain kingdomofbahrain
bi bdi burundi republicofburundi
bj ben benin republicofbenin
bl blm saintbarthelemy
bm bmu bermuda
bn brn bruneidarussalam brunei
bo bol bolivia plurinationalstateofbolivia
bq bes bonaire bonairesinteustatiusandsaba
br bra brazil federativerepublicofbrazil
bs bhs bahamas commonwealthofthebahamas thebahamas
bt btn bhutan kingdomofbhutan
bv bvt bouvetisland
bw bwa botswana republicofbotswana
by blr belarus republicofbelarus
bz blz belize
ca can canada
cc cck cocoskeelingislands
cd cod congothedemocraticrepublicofthe drcongo democraticrepublicofthecongo
cf caf centralafricanrepublic
cg cog congo republicofthecongo
ch che switzerland swissconfederation
ci civ cotedivoire republicofcotedivoire ivorycoast
ck cok cookislands
cl chl chile republicofchile
cm cmr cameroon republicofcameroon
cn chn china peoplesrepublicofchina
co col colombia republicofcolombia
cr cri costarica republicofcostarica
cu cub cuba republicofcuba
cv cpv caboverde republicofcaboverde capeverde
cw cuw curacao
cx cxr christmasisland
cy cyp cyprus republicofcyprus
cz cze czechia czechrepublic
de deu germany federalrepublicofgermany
dj dji djibouti republicofdjibouti
dk dnk denmark kingdomofdenmark
dm dma dominica commonwealthofdominica
do dom dominicanrepublic
dz dza algeria peoplesdemocraticrepublicofalgeria
ec ecu ecuador republicofecuador
ee est estonia republicofestonia
eg egy egypt arabrepublicofegypt
eh esh westernsahara
er eri eritrea thestateoferitrea
es esp spain kingdomofspain
et eth ethiopia federaldemocraticrepublicofethiopia
fi fin finland republicoffinland
fj fji fiji republicoffiji
fk flk falklandislandsmalvinas falklandislands
fm fsm micronesia federatedstatesofmicronesia
fo fro faroeislands
fr fra france frenchrepublic
ga gab gabon gaboneserepublic
gb gbr unitedkingdom greatbritain britain england scotland wales northernireland uk
gd grd grenada
ge geo georgia
gf guf frenchguiana
gg ggy guernsey
gh gha ghana republicofghana
gi gib gibraltar
gl grl greenland
gm gmb gambia republicofthegambia thegambia
gn gin guinea republicofguinea
gp glp guadeloupe
gq gnq equatorialguinea republicofequatorialguinea
gr grc greece hellenicrepublic
gs sgs southgeorgiaandthesouthsandwichislands
gt gtm guatemala republicofguatemala
gu gum guam
gw gnb guineabissau republicofguineabissau
gy guy guyana republicofguyana
hk hkg hongkong hongkongspecialadministrativeregionofchina
hm hmd heardislandandmcdonaldislands
hn hnd honduras republicofhonduras
hr hrv croatia republicofcroatia
ht hti haiti republicofhaiti
hu hun hungary
id idn indonesia republicofindonesia
ie irl ireland
il isr israel stateofisrael
im imn isleofman
in ind india republicofindia
io iot britishindianoceanterritory
iq irq iraq republicofiraq
ir irn iran islamicrepublicofiran
is isl iceland republicoficeland
it ita italy italianrepublic
je jey jersey
jm jam jamaica
jo jor jordan hashemitekingdomofjordan
jp jpn japan
ke ken kenya republicofkenya
kg kgz kyrgyzstan kyrgyzrepublic
kh khm cambodia kingdomofcambodia
ki kir kiribati republicofkiribati
km com comoros unionofthecomoros
kn kna saintkittsandnevis
kp prk koreademocraticpeoplesrepublicof northkorea democraticpeoplesrepublicofkorea
kr kor korearepublicof southkorea korea republicofkorea
kw kwt kuwait stateofkuwait
ky cym caymanislands
kz kaz kazakhstan republicofkazakhstan
la lao laopeoplesdemocraticrepublic laos
lb lbn lebanon lebaneserepublic
lc lca saintlucia
li lie liechtenstein principalityofliechtenstein
lk lka srilanka democraticsocialistrepublicofsrilanka
lr lbr liberia republicofliberia
ls lso lesotho kingdomoflesotho
lt ltu lithuania republicoflithuania
lu lux luxembourg grandduchyofluxembourg
lv lva latvia republicoflatvia
ly lby libya
ma mar morocco kingdomofmorocco
mc mco monaco principalityofmonaco
md mda moldova republicofmoldova
me mne montenegro
mf maf saintmartinfrenchpart saintmartin
mg mdg madagascar republicofmadagascar
mh mhl marshallislands republicofthemarshallislands
mk mkd northmacedonia republicofnorthmacedonia macedonia
ml mli mali republicofmali
mm mmr myanmar republicofmyanmar burma
mn mng mongolia
mo mac macao macaospecialadministrativeregionofchina macau
mp mnp northernmarianaislands commonwealthofthenorthernmarianaislands
mq mtq martinique
mr mrt mauritania islamicrepublicofmauritania
ms msr montserrat
mt mlt malta republicofmalta
mu mus mauritius republicofmauritius
mv mdv maldives republicofmaldives
mw mwi malawi republicofmalawi
mx mex mexico unitedmexicanstates
my mys malaysia
mz moz mozambique republicofmozambique
na nam namibia republicofnamibia
nc ncl newcaledonia
ne ner niger republicoftheniger
nf nfk norfolkisland
ng nga nigeria federalrepublicofnigeria
ni nic nicaragua republicofnicaragua
nl nld netherlands kingdomofthenetherlands holland thenetherlands
no nor norway kingdomofnorway
np npl nepal federaldemocraticrepublicofnepal
nr nru nauru republicofnauru
nu niu niue
nz nzl newzealand
om omn oman sultanateofoman
pa pan panama republicofpanama
pe per peru republicofperu
pf pyf frenchpolynesia
pg png papuanewguinea independentstateofpapuanewguinea
ph phl philippines republicofthephilippines thephilippines
pk pak pakistan islamicrepublicofpakistan
pl pol poland republicofpoland
pm spm saintpierreandmiquelon
pn pcn pitcairn
pr pri puertorico
ps pse palestine thestateofpalestine
pt prt portugal portugueserepublic
pw plw palau republicofpalau
py pry paraguay republicofparaguay
qa qat qatar stateofqatar
re reu reunion
ro rou romania
rs srb serbia republicofserbia
ru rus russianfederation russia
rw rwa rwanda rwandeserepublic
sa sau saudiarabia kingdomofsaudiarabia
sb slb solomonislands
sc syc seychelles republicofseychelles
sd sdn sudan republicofthesudan
se swe sweden kingdomofsweden
sg sgp singapore republicofsingapore
sh shn sainthelena
si svn slovenia republicofslovenia
sj sjm svalbardandjanmayen
sk svk slovakia slovakrepublic
sl sle sierraleone republicofsierraleone
sm smr sanmarino republicofsanmarino
sn sen senegal republicofsenegal
so som somalia federalrepublicofsomalia
sr sur suriname republicofsuriname
ss ssd southsudan republicofsouthsudan
st stp saotomeandprincipe democraticrepublicofsaotomeandprincipe
sv slv elsalvador republicofelsalvador
sx sxm sintmaartendutchpart sintmaarten
sy syr syrianarabrepublic syria
sz swz eswatini kingdomofeswatini swaziland
tc tca turksandcaicosislands
td tcd chad republicofchad
tf atf frenchsouthernterritories
tg tgo togo togoleserepublic
th tha thailand kingdomofthailand
tj tjk tajikistan republicoftajikistan
tk tkl tokelau
tl tls timorleste democraticrepublicoftimorleste easttimor
tm tkm turkmenistan
tn tun tunisia republicoftunisia
to ton tonga kingdomoftonga
tr tur turkiye republicofturkiye turkey
tt tto trinidadandtobago republicoftrinidadandtobago
tv tuv tuvalu
tw twn taiwan taiwanprovinceofchina
tz tza tanzania unitedrepublicoftanzania
ua ukr ukraine
ug uga uganda republicofuganda
um umi unitedstatesminoroutlyingislands
us usa unitedstates unitedstatesofamerica america
uy ury uruguay easternrepublicofuruguay
uz uzb uzbekistan republicofuzbekistan
va vat holyseevaticancitystate vatican vaticancity
vc vct saintvincentandthegrenadines
ve ven venezuela bolivarianrepublicofvenezuela
vg vgb virginislandsbritish britishvirginislands
vi vir virginislandsus virginislandsoftheunitedstates usvirginislands
vn vnm vietnam socialistrepublicofvietnam
vu vut vanuatu republicofvanuatu
wf wlf wallisandfutuna
ws wsm samoa independentstateofsamoa
ye yem yemen republicofyemen
yt myt mayotte
za zaf southafrica republicofsouthafrica
zm zmb zambia republicofzambia
zw zwe zimbabwe republicofzimbabwe
"""

_OTHER: Final = re.compile(r"[^a-z]+")


def country_code(text: str) -> str:
    """The two lower-case letters of a country given as its code or its English name; empty where it is none."""
    plain = unicodedata.normalize("NFKD", text).lower()
    return _codes().get(_OTHER.sub("", plain), "") if _only_latin(plain) else ""


def _only_latin(text: str) -> bool:
    """Whether every letter is Latin: what is left of another script's name says nothing."""
    return all(letter.isascii() or not letter.isalpha() for letter in text)


@cache
def _codes() -> dict[str, str]:
    return {word: words[0] for line in _TABLE.splitlines() if (words := line.split()) for word in words}
