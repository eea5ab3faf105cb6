"""Words of the sample crawl's own articles: topics, each with the parts that the sentence patterns are filled with.

All of it was written for this project. A topic names things (nouns with an article), parts (plural nouns), deeds (verb
phrases in the past tense), habits (the same in the infinitive), qualities, people, places and reasons (clauses).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Topic:
    """The vocabulary of one subject; every field is a tuple of phrases."""

    name: str
    things: tuple[str, ...]
    parts: tuple[str, ...]
    deeds: tuple[str, ...]
    habits: tuple[str, ...]
    qualities: tuple[str, ...]
    people: tuple[str, ...]
    places: tuple[str, ...]
    reasons: tuple[str, ...]


def _topic(name: str, **phrases: str) -> Topic:
    """A topic whose phrases are spelled with bars between them."""
    return Topic(name=name, **{kind: tuple(spelled.split("|")) for kind, spelled in phrases.items()})


TOPICS = (
    _topic(
        "gardening",
        things=(
            "the compost heap|a row of beans|the old apple tree|a bed of strawberries|the lavender hedge|a greenhouse|"
            "the vegetable patch|a climbing rose|the rain barrel|a tray of seedlings|the herb spiral|a pear on the wall"
        ),
        parts="roots|leaves|buds|seeds|branches|shoots|blossoms|bulbs|stems|weeds",
        deeds="pruned|watered|mulched|dug over|replanted|covered with straw|shaded|fed with nettle tea|moved|sowed",
        habits="water|prune|mulch|shelter|thin out|replant|weed|harvest|feed",
        qualities="sunny|well drained|heavy|acid|sheltered|overgrown|fertile|frost hardy|patient|dry",
        people="the gardener|my grandmother|a neighbour|the allotment society|an apprentice|the nursery owner",
        places=(
            "on the south wall|behind the shed|in the walled garden|along the fence|under the elder|at the lower end"
        ),
        reasons=(
            "the soil stays warm for longer there|slugs had eaten everything else|late frost is common in May|"
            "the ground had been compacted by years of feet|bees find the flowers early|water runs off too quickly|"
            "the roots need air as much as water|nothing else would grow in that corner"
        ),
    ),
    _topic(
        "astronomy",
        things=(
            "a small telescope|the outer planet|a double star|the bright comet|a spiral galaxy|the lunar crater|"
            "an eclipse|the meteor shower|a distant quasar|the solar corona|a dwarf planet|the radio dish"
        ),
        parts="spectra|orbits|moons|photographs|star charts|mirrors|sunspots|rings|light curves|lenses",
        deeds="observed|photographed|measured|catalogued|rediscovered|plotted|timed|calibrated|drew|tracked",
        habits="observe|measure|photograph|track|compare|catalogue|resolve|calibrate|time",
        qualities="faint|variable|distant|hydrogen rich|bright|cold|eccentric|red|periodic|dusty",
        people="the observatory|a schoolteacher|the survey team|an amateur|the night assistant|two students",
        places=(
            "near the horizon|in the southern sky|from a mountain ridge|at the edge of the disc|above the city lights|"
            "in the desert station"
        ),
        reasons=(
            "the air was unusually steady that night|its light takes thousands of years to reach us|"
            "the old plates had been exposed for too long|the orbit is tilted against ours|"
            "dust hides most of the centre|"
            "a second image showed the same point of light|the drive of the mount had slipped|"
            "the moon had not yet risen"
        ),
    ),
    _topic(
        "cooking",
        things=(
            "the onion soup|a loaf of rye bread|the lentil stew|a lemon tart|the fish broth|a pan of roast roots|"
            "the pickled cabbage|a plum cake|the herb omelette|a pot of rice|the chestnut puree|a simple dressing"
        ),
        parts="spices|herbs|onions|crumbs|slices|eggs|carrots|walnuts|crusts|dumplings",
        deeds="simmered|baked|stirred|seasoned|kneaded|chopped|reduced|cooled|tasted|served",
        habits="simmer|bake|season|knead|chop|fold in|taste|rest|serve",
        qualities="sour|crisp|tender|smoky|salty|golden|thin|rich|fragrant|coarse",
        people="the cook|my aunt|the baker|a guest|the kitchen hand|the innkeeper",
        places=(
            "on the back of the stove|in a heavy pot|at the market|over a low flame|in the cellar|by the open window"
        ),
        reasons=(
            "the dough had not risen overnight|salt draws the water out of the leaves|the oven runs hotter at the back|"
            "acid keeps the colour bright|the stock had boiled for too long|a pinch more would have spoiled it|"
            "the flavour needs a day to settle|butter burns before the flour is done"
        ),
    ),
    _topic(
        "sailing",
        things=(
            "the wooden sloop|a spare anchor|the harbour light|a torn jib|the tidal chart|an old sextant|the ferry|"
            "a fishing boat|the mooring buoy|a pilot cutter|the barometer|the storm sail"
        ),
        parts="ropes|planks|currents|charts|sails|knots|tides|shoals|oars|signals",
        deeds="steered|repaired|reefed|moored|varnished|towed|sighted|loaded|hauled|launched",
        habits="steer|reef|repair|moor|trim|tow|inspect|launch|haul",
        qualities="seaworthy|narrow|leaking|swift|calm|foggy|tarred|shallow|steady|windward",
        people="the harbour master|a deckhand|the skipper|the boatbuilder|an old pilot|the crew",
        places=(
            "off the northern cape|inside the breakwater|at slack water|in the estuary|along the lee shore|"
            "by the slipway"
        ),
        reasons=(
            "the tide had already turned|the wind backed to the west|the channel shifts after every gale|"
            "the caulking had dried out over the winter|nobody had marked the new sandbank|"
            "the swell came from two sides|"
            "a second line held when the first one parted|the lamp could not be seen in the rain"
        ),
    ),
    _topic(
        "bridges",
        things=(
            "the stone arch|a suspension bridge|the railway viaduct|a timber footbridge|the swing bridge|"
            "a concrete beam|"
            "the centre pier|an iron truss|the toll house|a pontoon crossing|the expansion joint|the north abutment"
        ),
        parts="cables|rivets|girders|piers|loads|arches|bearings|foundations|drawings|trestles",
        deeds="surveyed|reinforced|rebuilt|painted|tested|widened|closed|designed|inspected|riveted",
        habits="reinforce|inspect|survey|widen|test|drain|repaint|design|replace",
        qualities="slender|corroded|masonry|temporary|elegant|overloaded|riveted|municipal|hollow|weathered",
        people="the engineer|the county council|a contractor|the masons|the railway company|a young draughtsman",
        places=(
            "above the gorge|at the old ford|upstream of the mill|between the two banks|at low water|beside the lock"
        ),
        reasons=(
            "the river had scoured the bed around the piles|iron expands more than the builders had allowed for|"
            "traffic had doubled within ten years|the first design did not allow for wind|"
            "stone was cheaper than labour|"
            "the ice of that winter carried the scaffolding away|the clay beneath it never stops moving|"
            "an older crossing had been washed away twice"
        ),
    ),
    _topic(
        "music",
        things=(
            "the string quartet|a wooden flute|the village choir|an unfinished sonata|the church organ|"
            "a borrowed cello|"
            "the second movement|a dance tune|the brass band|an old recording|the piano reduction|a folk song"
        ),
        parts="chords|scales|strings|rehearsals|manuscripts|melodies|reeds|harmonies|rhythms|bows",
        deeds="rehearsed|transposed|performed|tuned|copied out|recorded|arranged|improvised on|revised|conducted",
        habits="rehearse|tune|transpose|record|memorise|arrange|perform|accompany|revise",
        qualities="slow|minor|lively|hoarse|resonant|muted|plain|ornamented|restless|bright",
        people="the conductor|a violinist|the composer|the choirmaster|two pupils|the instrument maker",
        places=(
            "in the empty hall|before the interval|at the summer festival|in the practice room|near the gallery|on tour"
        ),
        reasons=(
            "the hall answers every low note|the parts had been copied in a hurry|gut strings go flat in damp air|"
            "the tempo was never written down|the singers took their breath too early|"
            "nobody could read the old notation|"
            "the melody returns in another key|the audience had expected something shorter"
        ),
    ),
    _topic(
        "railways",
        things=(
            "the night train|a branch line|the signal box|an express locomotive|the goods yard|a level crossing|"
            "the timetable|a dining car|the mountain tunnel|an electric tram|the station clock|a freight wagon"
        ),
        parts="sleepers|points|timetables|wheels|tickets|boilers|platforms|axles|signals|gradients",
        deeds="electrified|delayed|restored|extended|closed|coupled|lubricated|rerouted|rebuilt|inspected",
        habits="restore|inspect|extend|couple|reroute|grease|measure|clear|operate",
        qualities="punctual|rusty|single track|steep|crowded|abandoned|heavy|regional|scenic|slow",
        people="the stationmaster|a conductor|the fitters|the line manager|a volunteer|the signalman",
        places=(
            "at the junction|beyond the tunnel|in the roundhouse|on the coastal line|beside the embankment|"
            "at platform two"
        ),
        reasons=(
            "the cutting fills with snow every winter|two trains could not pass between the stations|"
            "the boiler had to be inspected first|a tree had come down across the wires|"
            "passengers preferred the earlier one|the gauge changes at the border|"
            "the brakes of the last wagon had seized|coal was delivered only once a week"
        ),
    ),
    _topic(
        "birds",
        things=(
            "a pair of swifts|the barn owl|a flock of starlings|the nesting box|a grey heron|the kingfisher|"
            "a migrating crane|the bird hide|a young cuckoo|the reed bed|a woodpecker|the winter feeder"
        ),
        parts="feathers|eggs|wings|calls|nests|rings|fledglings|tracks|beaks|flocks",
        deeds="counted|ringed|photographed|fed|startled|recorded|followed|identified|released|sketched",
        habits="count|observe|ring|protect|record|identify|feed|follow|sketch",
        qualities="shy|migratory|noisy|endangered|nocturnal|speckled|common|curious|territorial|hungry",
        people="the warden|a birdwatcher|the ringing group|a farmer|the biologist|the children",
        places="in the flooded meadow|above the quarry|at first light|along the dyke|in the hollow oak|near the weir",
        reasons=(
            "they return to the same nest every spring|the hedges had been cut too early|"
            "insects are scarce in wet summers|"
            "a falcon was circling over the field|the young leave within three weeks|the marsh had been drained|"
            "their call carries furthest before sunrise|ice had covered the feeding grounds"
        ),
    ),
    _topic(
        "libraries",
        things=(
            "the reading room|a rare manuscript|the card index|a leather binding|the city archive|a bundle of letters|"
            "the map collection|a printed catalogue|the stack level|a damaged folio|the reference desk|a travel diary"
        ),
        parts="shelves|pages|catalogues|readers|bindings|labels|editions|margins|letters|maps",
        deeds="catalogued|restored|digitised|borrowed|transcribed|indexed|misplaced|rebound|donated|translated",
        habits="catalogue|restore|lend|digitise|index|describe|preserve|transcribe|shelve",
        qualities="fragile|handwritten|annotated|anonymous|complete|faded|illustrated|medieval|missing|thin",
        people="the librarian|an archivist|a visiting scholar|the bookbinder|two volunteers|the curator",
        places=(
            "in the basement|under glass|on the upper gallery|behind the counter|in the strong room|beside the window"
        ),
        reasons=(
            "the ink had eaten through the paper|the old numbers no longer matched the shelves|"
            "damp had reached the lower rows|nobody had opened the box for a century|"
            "the donor asked that it never be sold|light bleaches the colours|"
            "the second volume was lost in the fire|every reader signs for what is brought"
        ),
    ),
    _topic(
        "weather",
        things=(
            "a slow front|the morning fog|an early frost|the rain gauge|a thunderstorm|the summer drought|"
            "a weather balloon|the western wind|a warm winter|the snow line|an autumn storm|the daily forecast"
        ),
        parts="clouds|isobars|readings|showers|records|gusts|thermometers|stations|satellite images|averages",
        deeds="forecast|measured|recorded|underestimated|simulated|reported|mapped|compared|verified|announced",
        habits="forecast|measure|record|simulate|map|compare|verify|explain|average",
        qualities="humid|unstable|mild|persistent|regional|violent|dry|sudden|seasonal|overcast",
        people="the forecaster|a ship's officer|the weather service|a mountain guide|the observer|a research group",
        places=(
            "over the plateau|along the coast|at the summit station|in the river valley|in the lee of the hills|"
            "offshore"
        ),
        reasons=(
            "warm air had moved in at height|the sea gives its heat back slowly|the model had missed a small low|"
            "the instrument stood too close to a wall|cold air collects in the hollows|the jet stream had moved north|"
            "evaporation cools the layer below|two stations disagreed by several degrees"
        ),
    ),
    _topic(
        "chess",
        things=(
            "the queen's gambit|a drawn endgame|the opening book|a sacrifice on the king's side|the adjourned game|"
            "a passed pawn|the club championship|a blitz tournament|the bishop pair|an isolated pawn|the rook ending|"
            "a correspondence game"
        ),
        parts="pawns|moves|openings|clocks|studies|variations|exchanges|notes|squares|combinations",
        deeds="analysed|declined|calculated|overlooked|prepared|adjourned|annotated|replayed|defended|simplified",
        habits="analyse|defend|calculate|decline|prepare|exchange|simplify|annotate|replay",
        qualities="sharp|positional|quiet|unsound|theoretical|closed|forced|passive|elegant|drawish",
        people="the grandmaster|the challenger|a junior player|the arbiter|the club secretary|the team captain",
        places=(
            "in the seventh round|under time pressure|on the long diagonal|at the county league|in the analysis room|"
            "after the time control"
        ),
        reasons=(
            "the knight had no good square|white keeps a small but lasting edge|the king is safer on the other wing|"
            "both sides had less than five minutes|the pawn can no longer be stopped|theory had moved on since then|"
            "a quiet move would have held the balance|the exchange opens the file for the rooks"
        ),
    ),
    _topic(
        "pottery",
        things=(
            "a stoneware jug|the wood kiln|a batch of bowls|the kick wheel|an ash glaze|the slip cast cup|a roof tile|"
            "the drying rack|a cracked plate|the clay pit|a salt glazed jar|the test piece"
        ),
        parts="glazes|shards|handles|moulds|cones|rims|tools|firings|bats|pigments",
        deeds="threw|glazed|fired|trimmed|wedged|dried|decorated|unloaded|mended|recycled",
        habits="throw|glaze|fire|trim|wedge|dry|decorate|mend|weigh",
        qualities="porous|glossy|brittle|plastic|matt|thick walled|speckled|leather hard|overfired|smooth",
        people="the potter|a workshop student|the kiln master|a collector|the museum|an assistant",
        places=(
            "in the lower chamber|on the wheel|at the autumn firing|next to the firebox|in the studio|"
            "on the drying board"
        ),
        reasons=(
            "the clay still held too much water|iron turns green when the air is cut off|the kiln cooled too fast|"
            "the glaze had run down to the shelf|a bubble in the wall had burst|the foot was thicker than the rim|"
            "salt settles where the flame is hottest|the pieces shrink by a tenth"
        ),
    ),
)

SENTENCES = (
    "When {person} {deed} {thing} {place}, it turned out that {reason}.",
    "{Person} {deed} {thing} more than once, because {reason}.",
    "It is easy to {habit} {thing} {place}, but far harder to do it well when the {parts} are {quality}.",
    "In the {season} of {year}, {person} {deed} {thing}, and {person2} kept careful notes about the {parts}.",
    "Most books tell the reader to {habit} {thing} first; experience shows that {reason}.",
    "There were {number} {parts} {place}, and only a few of them were {quality}.",
    "If the {parts} look {quality}, wait a little before you {habit} {thing}.",
    "{Thing} stood {place} for {number} years before anyone noticed that {reason}.",
    "What surprised {person} most was how {quality} the {parts} had become {place}.",
    "You may {habit} {thing} in an afternoon, provided that the {parts} are not too {quality}.",
    "{Person} had never seen {thing} so {quality}, and said so to {person2} at once.",
    "The reason was simple: {reason}.",
    "Not everybody agreed with {person}, who {deed} {thing} and asked for better {parts}.",
    "A {quality} result is no accident, since {reason}.",
    "After {number} attempts {person} finally {deed} {thing} {place}.",
    "Nobody needs to {habit} {thing} every week, although {person} would still do so.",
    "Compared with the {parts} of {year}, {thing} seems almost {quality}.",
    "\u201cWe {deed} it because {reason},\u201d {person} explained, pointing to {thing}.",
    "The {parts} were kept {place}, where {person} could {habit} them without any hurry.",
    "It took {person} about {number} days to learn that {reason}.",
    "Between {thing} and {thing2} there is a difference that the {parts} make plain.",
    "Whoever wants to {habit} {thing} should look at the {parts} before anything else.",
    "Some say that {thing} is too {quality} for beginners, but {person} held another opinion.",
    "Later that {season}, {person2} wrote that {reason}, and that {thing} had to be looked at again.",
    "For {thing2} the rule is different, since the {parts} are {quality} from the start.",
    "By {year} the {parts} had been replaced, and {person} {deed} {thing} with new ones.",
    "Even so, {reason}, which is why {thing} was left as it was.",
    "A short visit {place} is enough to understand why {person} {deed} {thing} that way.",
    "One learns to {habit} {thing} by watching {person}, not by reading about {parts}.",
    "On the whole {thing} has proved {quality}, and the {parts} have lasted well.",
    "First {habit} the {parts}, then {habit2} {thing}, and leave the rest until the {season}.",
    "Where {thing} was once {quality}, today only {number} of the {parts} can be found {place}.",
    "Visitors usually ask about {thing} before they have even looked at the {parts}.",
    "{Person} keeps {number} {parts} in a box and takes them out only when the {season} begins.",
    "As long as {thing} stays {quality}, there is little to worry about.",
    "Ask {person}, and you will hear that {reason}; ask {person2}, and the story is another one.",
    "Every {season} the same question comes up: should one {habit} {thing} or leave it alone?",
    "Photographs from {year} show {thing} {place}, surrounded by {quality} {parts}.",
    "The cost was modest, about as much as {number} new {parts}.",
    "Much has been written on how to {habit} {thing}, little of it by people who had tried.",
    "My own attempt {place} failed twice, and I blame the {parts}.",
    "{Thing2} came as a present from {person}, together with {number} {quality} {parts}.",
    "Without {person} nobody would have {deed} {thing} at all.",
    "Strictly speaking {thing} does not belong here, yet {reason}.",
    "A word of warning: {quality} {parts} look much the same from a distance.",
    "To {habit} {thing} properly takes patience, a free morning and somebody like {person2}.",
    "Until {year} hardly anyone had {deed} {thing} {place}.",
    "So far {number} people have written to us about {thing}, and all of them mentioned the {parts}.",
    "Then the {season} came, {thing2} had to wait, and {person} turned to other things.",
    "Those who remember the {parts} of {year} still speak of how {quality} they were.",
    "Give {thing} time, {habit} it rarely, and keep a record of what the {parts} do.",
    "It helps that {person2} lives nearby and knows {thing} from childhood.",
)

#: reasons that fit any topic
COMMON_REASONS = (
    "money was short that year",
    "nobody had asked the right question",
    "the instructions left out the most important step",
    "a second opinion came too late",
    "the simplest method had never been tried",
    "old habits are slow to change",
    "two small mistakes had cancelled each other out",
    "what works once does not always work again",
    "the advice had been meant for another region",
    "all the measurements had been taken in a hurry",
    "somebody had moved the only label",
    "good tools were hard to find",
)

TITLES = (
    "How {person} {deed} {thing}",
    "Notes on {thing}",
    "Why {reason}",
    "{Thing} and its {parts}",
    "A {season} with {thing}",
    "What to know before you {habit} {thing}",
    "On {quality} {parts}",
    "{Thing}, {year} to today",
)

HEADINGS = (
    "About the {parts}",
    "When to {habit} {thing}",
    "What {person} found",
    "The {season} of {year}",
    "{Quality} {parts}",
    "Common mistakes",
    "Looking back",
    "A closer look at {thing2}",
)
