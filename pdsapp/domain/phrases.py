"""What models say around a post: patterns for labels, preambles, remarks and refusals.

All patterns are anchored or bounded, so that no text makes them slow. They are deliberately narrow:
"Here's the thing: …", "Note: bring a cup" and "I'm sorry, but I can't come" are ordinary posts.
"""

import re


def _pattern(*parts: str) -> re.Pattern[str]:
    return re.compile("".join(parts), re.IGNORECASE)


# ---- markup that leaks from chat templates and reasoning models ----

THOUGHT_TAG = _pattern(r"<(/?)(?:think|thinking|thought|reasoning)>")
TURN_END = _pattern(r"<\|(?:im_end|eot_id|end|endoftext|end_of_text|return)\|>|<end_of_turn>|</s>")
SPECIAL_TOKEN = _pattern(
    r"<\|start_header_id\|>\w{0,20}<\|end_header_id\|>",
    r"|<\|(?:im_start|start)\|>(?:assistant|model)?",
    r"|<start_of_turn>(?:model|assistant)?",
    r"|<\|[a-z_]{2,30}\|>|</?s>|<(?:bos|eos|pad|unk|end_of_turn)>|\[/?INST\]",
)
WRAPPER_TAG = re.compile(
    r"<(post|tweet|output|answer|response|reply|text|final|message|result)>(.*)</\1>",
    re.IGNORECASE | re.DOTALL,
)

# ---- labels: "Post:" may share the line with the text, vaguer words need a line of their own ----

_ADJECTIVE = (
    r"(?:very|short|shorter|shortened|long|longer|extended|expanded|brief|quick|new|next|possible"
    r"|potential|sample|example|revised|rewritten|updated|edited|condensed|trimmed|tighter|concise"
    r"|casual|natural|single|original|final|fresh|social|media|medium|little|engaging|suitable|twitter"
    r"|improved|first)"
)
_POST = r"(?:posts?|tweets?|toots?|skeets?|rewrites?|revisions?|drafts?)"
_ABOUT = r"(?:[ \t]*#?\d{1,2})?(?:[ \t]*\([^)\n]{0,60}\))?"
_STRONG = (
    rf"(?:(?:(?:the|my|your|a)[ \t]+)?(?:{_ADJECTIVE}[ \t]+){{0,3}}(?:post|tweet|toot|skeet)"
    rf"|(?:the[ \t]+)?(?:{_ADJECTIVE}[ \t]+){{1,3}}(?:version|draft)"
    r"|rewritten|rewrite|revised|revision|beitrag|publicación|publication|post (?:text|content))"
)
_WEAK = r"(?:draft|output|caption|message|reply|response|answer|text|result|version|final(?: answer)?)"
_HEADING = r"#{1,6}[ \t]+"
LABELS = (
    _pattern(rf"(?:{_HEADING})?{_STRONG}{_ABOUT}[ \t]*[:：]\s*"),
    _pattern(
        rf"(?:{_HEADING})?([*_]{{1,3}})(?:{_STRONG}|{_WEAK}){_ABOUT}",
        r"(?:\1[ \t]*[:：]|[ \t]*[:：][ \t]*\1)\s*",
    ),
    _pattern(rf"{_HEADING}(?:{_STRONG}|{_WEAK}){_ABOUT}[ \t]*\n+"),
    _pattern(rf"([*_]{{1,3}})(?:{_STRONG}|{_WEAK}){_ABOUT}\1[ \t]*\n+"),
    _pattern(rf"\[{_STRONG}\][ \t]*[:：]?\s*"),
    _pattern(rf"{_WEAK}{_ABOUT}[ \t]*[:：][ \t]*\n+"),
)

# ---- preambles: "Sure! Here is a short post in Anna's voice:" ----

_YES = (
    r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|alright|got it|great|no problem"
    r"|understood|happy to help|gladly|yes|klar|gerne|natürlich|bien sûr|d'accord|claro(?: que sí)?"
    r"|por supuesto|certo)"
)
_OPENER = rf"(?:[¡]?{_YES}[ ]?[!.,:;—–-]*\s+)?"
_HERE = r"(?:here(?:['’]s| is| are| you go[:,!.]?)|this is|below is|how about(?: this)?)[ \t]+"
_WHOSE = r"(?:(?:a|an|the|my|your|one|another|@?[\w.-]{1,40}['’]s)[ \t]+)?"
_FOR = (
    r"(?:for you|as @?[\w .'’-]{1,40}|you (?:asked|requested)[^:\n]{0,30}"
    r"|from [^:\n]{0,40}(?:perspective|view)|in [^:\n]{0,60}(?:voice|style|tone|words|character)"
    r"|within the [^:\n]{0,40}"
    r"|(?:within|between|under|with|at|of|in|that)[^:\n]{0,60}characters?[^:\n]{0,30})"
)
_ABROAD_HERE = r"(?:hier ist|hier kommt|voici|aquí (?:tienes|está|va)|ecco|aqui está)[ \t]+"
_ABROAD_POST = r"(?:post|beitrag|tweet|publication|message|publicación|mensaje|postagem)"
PREAMBLES = (
    _pattern(
        rf"{_OPENER}{_HERE}{_WHOSE}(?:{_ADJECTIVE},?[ \t]+){{0,4}}{_POST}",
        rf"(?:[ \t]+(?:{_ADJECTIVE}|{_FOR})){{0,2}}{_ABOUT}[ \t]*[:：]\s*",
    ),
    # vaguer words count when the post follows in quotation marks or on a new line
    _pattern(
        rf"{_OPENER}{_HERE}{_WHOSE}(?:[\w'’-]{{1,20}},?[ \t]+){{0,4}}",
        rf"(?:{_POST}|version|message|reply|response|caption|text|attempt|option|answer)\b",
        r"[^:\n]{0,120}[:：][*_]{0,2}(?:[ \t]*\n+|[ \t]+(?=[\"“„«「]))",
    ),
    _pattern(
        rf"{_OPENER}{_HERE}{_WHOSE}(?:{_ADJECTIVE},?[ \t]+){{0,4}}{_POST}",
        r"[^:\n.!?]{0,80}[.!—–-]?[ \t]*\n+",
    ),
    _pattern(
        rf"{_OPENER}{_ABROAD_HERE}(?:[\w'’-]{{1,20}}[ \t]+){{0,4}}{_ABROAD_POST}\b[^:\n]{{0,80}}[:：]\s*"
    ),
    _pattern(rf"[¡]?{_YES}[ ]?[!.][ \t]*\n\n+"),
)

# ---- remarks behind the post: counts, offers, explanations ----

_UNIT = r"(?:characters?|chars?|zeichen|caract[eè]res|caracteres|words?)"
_COUNT = (
    r"(?:approximately|approx\.?|about|exactly|around|roughly|ca\.|~|≈)?[ \t]*"
    r"\d{1,4}(?:[ \t]*/[ \t]*\d{1,4})?"
)
_MEASURE = r"(?:length|count|char(?:acter)?s?(?:[ \t]count)?|word count|zeichen|total)"
_MARK = r"[*_(\[]{0,3}"
TRAILING_NOTES = (
    _pattern(
        rf"(?<!\s)\s*[*_]{{0,2}}[(\[][ \t]*(?:{_MEASURE}[ \t]*[:=]?[ \t]*)?{_COUNT}[ \t]*{_UNIT}",
        r"[^)\]\n]{0,60}[)\]][*_]{0,2}\s*\Z",
    ),
    _pattern(
        rf"(?<!\s)\s*[*_]{{0,2}}[(\[][ \t]*{_MEASURE}[ \t]*[:=]?[ \t]*{_COUNT}[ \t]*[)\]][*_]{{0,2}}\s*\Z",
    ),
    _pattern(rf"\n+{_MARK}{_MEASURE}[*_]{{0,2}}[ \t]*[:=][*_]{{0,2}}[ \t]*{_COUNT}[^\n]{{0,30}}\Z"),
    _pattern(rf"(?:\n+|(?<![ \t])[ \t]+[—–-]{{1,2}}[ \t]*){_COUNT}[ \t]{_UNIT}\.?\s*\Z"),
)
OUTROS = (
    _pattern(
        rf"\n+{_MARK}(?:let me know if (?:you(?:['’]d| would)? (?:like|want|need|prefer)|this works)",
        r"|would you like me to|(?:do you )?want me to ",
        r"|feel free to (?:adjust|edit|modify|tweak|change|use)",
        r"|(?:i )?hope this (?:works|fits|helps|meets))[^\n]{0,300}\Z",
    ),
    _pattern(
        rf"\n+{_MARK}(?:note|explanation|this (?:post|version|rewrite|draft|text|tweet|one))\b",
        r"[^\n]{0,200}?\b(?:characters?|persona|prompt|word count|requested|length)\b[^\n]{0,200}\Z",
    ),
)

# ---- refusals: matched at the start of a text whose white space is folded and whose ’ is ' ----

_SORRY = (
    r"(?:(?:(?:i'm|i am|so|very) ){0,2}(?:(?:so|very|really|terribly) )?sorry"
    r"|i apologi[sz]e|my apologies|unfortunately)[,.]? ?(?:but )?"
)
_CANNOT = (
    r"(?:i (?:can't|cannot|can not|could not|couldn't|won't|will not|am unable to|am not able to"
    r"|must (?:respectfully )?decline to|don't feel comfortable)|i'm (?:unable|not able) to)"
)
_WRITE = (
    r"(?:creat(?:e|ing)|generat(?:e|ing)|writ(?:e|ing)|produc(?:e|ing)|provid(?:e|ing)|draft|compose"
    r"|fulfill?|comply|engage|participate|role-?play|impersonate|pretend|assume|adopt|continue with"
    r"|complete|discuss)"
)
_WHAT = (
    r"(?:(?:with|in|on|about|to|as|a|an|any|the|this|that|such|your|these|those|role-?play(?:ing)?) ){0,4}"
    r"(?:that|this|it|requests?|posts?|content|text|tweets?|messages?|persona|character|topics?"
    r"|conversation|material|task|role|statements?|kind|type|sort)\b"
)
_IT = r"(?:that|this|it|(?:that|this|your|the) (?:request|task|topic|post)s?)"
_AI = (
    r"an? (?:(?:ai|artificial intelligence)(?: (?:language )?(?:model|assistant|chatbot|system)|,)"
    r"|(?:large )?language model)"
)
_NOT = r"\b(?:can't|cannot|can not|don't|do not|unable|not able|won't|not allowed|not programmed)\b"
REFUSALS = (
    _pattern(
        rf"(?:{_SORRY})?{_CANNOT} (?:help|assist)(?: you)?(?: (?:with|in|on) {_IT})?",
        r"(?:[.!,;:]|$| (?:as|because|since)\b)",
    ),
    _pattern(rf"(?:{_SORRY})?{_CANNOT} (?:\w+ (?:or|and) )?{_WRITE} {_WHAT}"),
    _pattern(rf"{_SORRY}{_CANNOT} (?:do|comply with|continue|answer) (?:that|this|it)\b"),
    _pattern(rf"(?:{_SORRY})?as {_AI}.{{0,200}}?{_NOT}"),
    _pattern(rf"(?:i'm|i am) (?:just |only )?{_AI}.{{0,120}}?{_NOT}"),
    _pattern(r"(?:this|that|your|the) (?:request|content|prompt) (?:violates|goes against|is against)\b"),
    _pattern(
        r"es tut mir leid,? (?:aber )?(?:ich kann|dabei kann ich|damit kann ich).{0,80}\bnicht\b.{0,40}",
        r"\b(?:helfen|weiterhelfen|erstellen|schreiben|erfüllen|nachkommen|beantworten)\b",
    ),
    _pattern(r"als ki(?:[- ]?(?:sprach)?modell|-assistent)?,? (?:kann|darf) ich\b.{0,120}\b(?:nicht|kein)"),
    _pattern(
        r"(?:je suis )?désolée?,? (?:mais )?je ne (?:peux|suis) pas .{0,60}",
        r"(?:aider|répondre|créer|écrire|générer|rédiger|satisfaire)",
    ),
    _pattern(
        r"en tant qu(?:e |')(?:ia|modèle de langage|intelligence artificielle).{0,120}\bne (?:peux|puis)\b"
    ),
    _pattern(
        r"lo siento,? (?:pero )?no puedo (?:ayudar|asistir|crear|escribir|generar|cumplir|proporcionar)"
    ),
    _pattern(r"como (?:modelo de lenguaje|ia|inteligencia artificial).{0,120}\bno puedo\b"),
)
