"""Questions that any small language model can answer, whatever it was trained on.

Each line is two beginnings and their two ends. It makes two items with the same choices, so that an
end which is likelier by itself is wrong as often as it is right. Right answers in percent, F32 and
F16 originals, chance 50 %:

                             everyday  grammar  stories
    SmolLM2-135M-Instruct        87.0     90.0     78.0
    stories260K                  58.0     66.5     72.5
    the demo model               48.0     51.0     46.0

What a model does not know is skipped for it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_EVERYDAY = """
It was raining, so he took an|It was dark, so he took a| umbrella| lamp
You cut bread with a|You eat soup with a| knife| spoon
Fish live in the|Birds fly in the| water| air
In winter it is|In summer it is| cold| hot
She was hungry, so she ate some|She was thirsty, so she drank some| bread| water
Cows give us|Hens give us| milk| eggs
A doctor works in a|A teacher works in a| hospital| school
You read a|You wear a| book| hat
The sun shines during the|The moon shines during the| day| night
Fire is|Ice is| hot| cold
Grass is|Snow is| green| white
We hear with our|We see with our| ears| eyes
A baker makes|A tailor makes| bread| clothes
Sugar is|Lemons are| sweet| sour
A knife is|A pillow is| sharp| soft
An elephant is|A mouse is| big| small
Cars drive on the|Ships sail on the| road| sea
You sleep in a|You sit on a| bed| chair
You wash your hands with|You brush your teeth with| soap| toothpaste
A farmer works on a|A sailor works on a| farm| ship
We write with a|We call with a| pen| phone
Dogs like to|Cats like to say| bark| meow
A triangle has|A square has| three sides| four sides
A week has|A year has| seven days| twelve months
Morning comes before|Evening comes before| noon| night
Rain falls from the|Trees grow from the| clouds| ground
You boil water in a|You bake a cake in an| pot| oven
Honey is made by|Wool comes from| bees| sheep
A bird has|A fish has| wings| fins
A king lives in a|A bear lives in a| castle| cave
When you are happy you|When you are sad you| smile| cry
When you are tired you go to|When you are ill you go to the| sleep| doctor
A stone is|A feather is| heavy| light
You open a door with a|You pay for bread with| key| money
Apples grow on|Potatoes grow under the| trees| ground
The opposite of big is|The opposite of hot is| small| cold
The opposite of up is|The opposite of left is| down| right
The opposite of old is|The opposite of slow is| young| fast
The opposite of day is|The opposite of black is| night| white
The opposite of open is|The opposite of full is| closed| empty
Paris is the capital of|Rome is the capital of| France| Italy
Berlin is the capital of|Tokyo is the capital of| Germany| Japan
London is the capital of|Madrid is the capital of| England| Spain
Two plus two is|Three plus three is| four| six
The color of the sky is|The color of blood is| blue| red
A banana is|A tomato is| yellow| red
You swim in a|You climb a| pool| mountain
The first month is|The last month is| January| December
The baby of a dog is a|The baby of a cat is a| puppy| kitten
The baby of a cow is a|The baby of a sheep is a| calf| lamb
She plays the piano with her|She kicks the ball with her| hands| foot
He put a hat on his|He put shoes on his| head| feet
The plane flew through the|The train ran through the| sky| tunnel
To see the stars we look|To find a coin on the floor we look| up| down
A library has many|A zoo has many| books| animals
A bakery sells|A bookshop sells| bread| books
A pilot flies a|A driver drives a| plane| bus
Milk is kept in the|Clothes are kept in the| fridge| closet
A cactus grows in the|A palm tree grows on the| desert| beach
Steel is|Cotton is| hard| soft
The glass fell and|The balloon flew away and| broke| rose
He cut his finger and it began to|He told a joke and they began to| bleed| laugh
The ice in the sun began to|The water in the freezer began to| melt| freeze
The baby was hungry and began to|The baby was happy and began to| cry| laugh
The dog saw a stranger and began to|The bird sat in the tree and began to| bark| sing
In autumn the leaves|In spring the flowers| fall| bloom
The river flows into the|The smoke rises into the| sea| air
A snail is|A rabbit is| slow| fast
A lion eats|A horse eats| meat| grass
A carpenter works with|A painter works with| wood| colors
The sister of my mother is my|The brother of my mother is my| aunt| uncle
My father's father is my|My father's mother is my| grandfather| grandmother
The son of my parents is my|The daughter of my parents is my| brother| sister
We use a broom to|We use a shovel to| sweep| dig
We use a needle to|We use a hammer to hit a| sew| nail
We use a camera to take|We use an oven to bake| pictures| bread
We use scissors to|We use glue to| cut| stick
The clock tells us the|The map tells us the| time| way
On your birthday you get a|On your feet you wear| cake| shoes
The opposite of rich is|The opposite of long is| poor| short
The opposite of wet is|The opposite of dirty is| dry| clean
The opposite of strong is|The opposite of loud is| weak| quiet
The opposite of early is|The opposite of first is| late| last
A spider has eight|A bird lays| legs| eggs
Chickens lay|Trees have| eggs| leaves
The movie was so funny that we|The movie was so sad that we| laughed| cried
It was so cold that she put on a|It was so hot that she ate an| coat| ice cream
The soup was too hot, so he waited until it was|The tea was too cold, so he made it| cool| hot
He failed the test because he did not|He won the race because he was| study| fast
The room was dark, so she turned on the|The room was hot, so she opened the| light| window
The floor was dirty, so he took a|The tire was flat, so he took a| broom| pump
The plant was dry, so she gave it|The cat was hungry, so she gave it| water| food
I was late because I missed the|I was wet because of the| bus| rain
He could not read the sign without his|He could not open the door without his| glasses| key
She lost her way, so she looked at the|She wanted to know the time, so she looked at the| map| clock
At the beach they played in the|In winter they played in the| sand| snow
The police caught the|The nurse helped the| thief| patient
The boat sailed across the|The car drove across the| lake| bridge
At night we see the|At the zoo we see the| stars| monkeys
A rose is a|An oak is a| flower| tree
"""
_SUBJECTS = (
    "dog/dogs", "boy/boys", "girl/girls", "bird/birds", "tree/trees", "car/cars", "flower/flowers",
    "cat/cats", "friend/friends", "ball/balls",
)  # fmt: skip
_PLURALS = (
    ("The {one}", "The {many}", " is here", " are here"),
    ("The {one} in the park", "The {many} in the park", " was big", " were big"),
    ("Look at the {one}. It", "Look at the {many}. They", " is nice", " are nice"),
    ("One {one}", "Two {many}", " was there", " were there"),
    ("The {one} that I saw", "The {many} that I saw", " is old", " are old"),
)
_GRAMMAR = """
Yesterday we|Tomorrow we| went to the park| will go to the park
Last week she|Every day she| played with me| plays with me
He is|He has| eating| eaten
She wants to|She is| play| playing
The boy hurt|The girl hurt| himself| herself
The king saw|The queen saw| himself in the water| herself in the water
Tom lost|Lily lost| his toy| her toy
Ben and|Ben was with| I are friends| me
I|You| am happy| are happy
She|They| is happy| are happy
He|We| was tired| were tired
It|They| has a tail| have tails
He|They| likes cake| like cake
She ate an|She ate a| apple| banana
He saw an|He saw a| elephant| dog
I have an|I have a| egg| book
She is taller|She is as tall| than her brother| as her brother
He is the|He is| biggest of all| bigger than me
She did not|She has not| go| gone
He can|He likes to| swim well| swim
My mom gave|My mom played with| me a book| me
Where|Who| is the ball| is the boy
How many|How much| apples do you have| water do you have
She is good|She is afraid| at drawing| of dogs
They went|They stayed| to school| at school
The book is on|The boy is at| the table| school
Do you|Are you| like it| happy
Did she|Was she| go home| happy
We will|We have| see you| seen you
He told|He said to| her a story| her that
She was born in|She was born on| May| Monday
If I were you, I|If it rains, I| would go| will stay
She has been waiting|She will be here| for an hour| in an hour
The cake was|The girl was| eaten by the dog| eating the cake
Two of the boys|One of the boys| were late| was late
Mary|Mary and Ann| has a cat| have a cat
The children|The child| were playing| was playing
The man|The men| walks fast| walk fast
The mouse|The mice| was small| were small
My feet|My foot| are cold| is cold
The woman|The women| was nice| were nice
He sang|He was| a song| singing
They had|They were| eaten| eating
I do not|I am not| know him| sad
He must|He has to| go now| go now, too
Let us|Let him| play together| play alone
She likes|She would like| reading| to read
Stop|He began| crying| to cry
Once there|Now there| was a girl| is a girl
Its name|Their names| was Max| were Max and Ben
"""
_STORIES = """
{she} lost her favorite toy. She was very|{she} got a new toy. She was very| sad| happy
{he} fell and hurt his knee. He began to|{he} heard a funny joke. He began to| cry| laugh
{she} was tired. She wanted to|{she} was hungry. She wanted to| sleep| eat
{he} saw a big scary dog. He was|{he} saw a big red cake. He was| scared| happy
{she} was thirsty. She wanted some|{she} was cold. She wanted her| water| coat
It was raining. {he} stayed|It was sunny. {he} went| inside| outside
{she} threw the ball. The dog ran to the|{she} threw the stick. The dog ran to the| ball| stick
{he} had a red car. He loved his red|{he} had a red hat. He loved his red| car| hat
{she} got a doll. She played with the|{she} got a bear. She played with the| doll| bear
{he} wanted to fly like a|{he} wanted to swim like a| bird| fish
"""
_GIRLS = ("Lily", "Sue", "Mia", "Anna", "Amy", "Lucy", "Emma", "Sara", "Jane", "Molly")
_BOYS = ("Tim", "Tom", "Ben", "Max", "Sam", "Jack", "Bob", "Leo", "Dan", "Joe")

Row = dict[str, object]


def rows() -> Mapping[str, Sequence[Row]]:
    """Return the items of each task, by its name."""
    return {
        "everyday": _items("everyday", _lines(_EVERYDAY)),
        "grammar": _items("grammar", [*_numbers(), *_lines(_GRAMMAR)]),
        "stories": _items("stories", list(_told())),
    }


def _lines(text: str) -> list[tuple[str, ...]]:
    return [tuple(line.split("|")) for line in text.strip().splitlines()]


def _numbers() -> Iterator[tuple[str, ...]]:
    for subject, template in itertools.product(_SUBJECTS, _PLURALS):
        one, many = subject.split("/")
        yield tuple(part.format(one=one, many=many) for part in template)


def _told() -> Iterator[tuple[str, ...]]:
    for (girl, boy), line in itertools.product(zip(_GIRLS, _BOYS, strict=True), _lines(_STORIES)):
        yield tuple(part.format(she=girl, he=boy) for part in line)


def _items(task: str, lines: list[tuple[str, ...]]) -> list[Row]:
    """Two items a line; the choices in alternating order."""
    found: list[Row] = []
    for number, (*beginnings, one, other) in enumerate(lines):
        choices = [one, other] if number % 2 == 0 else [other, one]
        for beginning, answer in zip(beginnings, (one, other), strict=True):
            found.append(
                {
                    "id": f"{task}-{len(found):04d}",
                    "task": task,
                    "prompt": beginning,
                    "choices": choices,
                    "answer": answer,
                }
            )
    return found
