namespace Nibble.Samples.Storyteller;

/// <summary>
/// The story shapes. A line is one slot of the story and holds its wordings between bars; <c>?</c> makes the slot optional,
/// <c>@</c> names shared wordings, <c>$</c> draws words that belong together, <c>[x/y]</c> is a choice and <c>{word}</c> a word of the story.
/// No story and no speech starts with a name: a name then nearly always follows a space and stays one token.
/// </summary>
internal static class StoryShapes
{
    public static readonly IReadOnlyDictionary<string, string> Shared = new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["@who"] = """Once upon a time, there was a [little/small/kind/happy] {kid} named {N}. | There was once a [little/kind/happy/funny] {kid} named {N}. | Once there was a {kid}. {His} name was {N}. | In a [little/small/big] [house/village/town] lived a [little/kind/happy] {kid} named {N}.""",
        ["@out"] = """One [sunny/warm/nice/fine] [day/morning], a [little/small/happy] {kid} named {N} was {in} {place}. | Once there was a {kid} named {N}. One [sunny/warm/nice] [day/morning], {he} went to {place}. | On a [sunny/warm/nice] [day/morning], a [little/happy] {kid} named {N} went to {place} with {his} {mom}. | There was once a {kid} named {N} who liked to be {in} {place}.""",
        ["@play"] = """{He} {did}. | {He} {did} and was happy. | {N} {did} all morning. | First, {he} {did}.""",
        ["@thing"] = """{N} had a {oadj} {obj}. {He} [loved/liked] to {ouse}. | {He} had a {oadj} {obj}, and every day {he} liked to {ouse}. | {His} {mom} gave {him} a {oadj} {obj}. {N} loved to {ouse}. | Of all {his} things, {N} loved {his} {oadj} {obj} the most. {He} liked to {ouse} every day.""",
        ["@end"] = """It was a [good/great/lovely] day. | {N} had a big smile on {his} face. | That night, {N} slept [very/so] well. | {N} was [very/so] happy. | {N} never forgot that day. | And {N} was happy all day long.""",
        ["@friends"] = """From that day on, {N} and {F} were [the best of/best/good] friends. | {N} and {F} played together every day after that. | {N} and {F} [smiled/laughed] and went home together. | And the two friends were happy.""",
    };

    public static readonly IReadOnlyList<string> All =
    [
        // Something lost is found.
        """
        $where / other = under the bed / in the kitchen | behind the door / under the table | under a big bush / behind the house | in the garden / on the stairs | behind a big chair / under the bed | under the stairs / in the garden | in the bath / under the bed | behind a tree / on the stairs
        @who
        @thing
        One [day/morning/evening], {N} could not find the {obj}. | But one [day/morning], the {obj} was gone. | One [sad/gray] day, {he} lost the {obj}.
        "Where is my {obj}?" {he} [asked/cried]. | "Oh no! I lost my {obj}!" {he} [said/cried]. | {N} was [very/so] sad and began to cry. | {N} felt [very/so] sad.
        ? {He} looked everywhere in {his} room. | {He} looked here and there, but there was no {obj}. | {He} looked high and low.
        {His} {mom} heard {him} and came to help. "Let us look together," said {his} {mom}. | "Do not be sad," said {his} {mom}. "I will help you look." | {N} asked {his} {mom} for help, and {his} {mom} said, "Yes, of course."
        They looked {other}, but the {obj} was not there. | First they looked {other}. The {obj} was not there. | "Is it {other}?" asked {his} {mom}. They looked, but it was not there.
        Then they looked {where}. There was the {oadj} {obj}! | At last, {N} looked {where}, and there it was! | Then {N} saw something {where}. It was the {oadj} {obj}!
        "You found it!" said {his} {mom}. | {N} [jumped up and down/laughed and danced]. "I found it!" {he} said. | "Thank you for your help!" said {N}. | {N} gave {his} {mom} a big hug.
        ? After that, {N} always put the {obj} in a [safe/good] place. | "I will take good care of it now," said {N}. | Now {N} could {ouse} again.
        @end
        """,
        // A new friend.
        """
        $why / fix = was new in town / show you the town | had no one to play with / play with you | did not know anyone there / be your friend
        @out
        ? @play
        Then {he} saw a {fkid} who sat all alone. | There {he} saw a [shy/sad/quiet] {fkid} who did not play. | A [shy/sad/quiet] {fkid} was there, too, all alone.
        "Hello! I am {N}. What is your name?" asked {N}. | {N} [walked/ran] up and said, "Hi! My name is {N}. What is your name?" | {N} smiled and asked, "What is your name?"
        "My name is {F}," said the {fkid}. | "I am {F}," said the {fkid} in a [small/quiet] voice. | The {fkid} looked up. "I am {F}," {fhe} said.
        {F} was sad because {fhe} {why}. "I can {fix}," said {N}. | "Why are you sad?" asked {N}. {F} {why}. "I will {fix}," said {N}. | {F} told {N} that {fhe} {why}. "Then I will {fix}!" said {N}.
        ? {F} began to smile. | {F} was [so/very] happy to hear that. | "Really?" asked {F}. "Yes!" said {N}.
        {N} had a {oadj} {obj}. They took turns with it all day. | {N} showed {F} a {oadj} {obj}. "Do you want to {ouse}?" {he} asked. | {F} had a {oadj} {obj} with {fhim}, and {fhe} let {N} {ouse}.
        ? They [played/laughed/talked] until the sun went down. | They had [so much/a lot of] fun. | They ran and laughed together.
        When it was time to go home, {F} said, "Will you come again?" "Yes!" said {N}. | "You are a good friend," said {F}. "You are, too," said {N}. | "Can we play again?" asked {F}. "Yes, every day!" said {N}.
        @friends
        """,
        // Something too high.
        """
        $obj / ouse = kite / fly it | ball / throw it | balloon / hold it | hat / wear it | scarf / wear it | feather / hold it | flag / wave it | toy plane / make it fly | umbrella / open it | mask / wear it
        $oadj = red | blue | green | yellow | orange | pretty | big
        $up / start / help / how = in a tall tree / The wind took it up, up, up / a ladder / went up the ladder and got it | in a tall tree / The wind took it away / a long stick / got it down with the stick | on the roof / The wind took it up, up, up / a ladder / went up the ladder and got it | on a high shelf / {His} {mom} put it there to keep it safe / a chair / stood on the chair and got it | on a high shelf / {His} {mom} put it there to keep it safe / a long stick / got it down with the stick | on top of a wall / The wind took it there / a chair / stood on the chair and got it
        @who
        @thing
        But one day, the {obj} was {up}. {start}. | One day, something bad happened. Now the {obj} was {up}. {start}. | One morning, {N} saw the {obj} {up}. {start}.
        {N} jumped and jumped, but {he} could not reach it. | {He} wanted to get it, but {he} was too small. | "I want my {obj}," said {N}, but it was too high for {him}.
        ? "It is too high," {he} said [with a sad face/in a sad voice]. | {N} sat down and began to cry. | {N} did not know what to do.
        {His} friend {F} came by. "What is wrong?" asked {F}. | Then {F} came along. "Can I help you?" {fhe} asked. | {N} went to {his} friend {F} and asked for help.
        "My {obj} is {up}," said {N}. "I cannot reach it." | {N} pointed at the {obj} and said, "I am too small to reach it." | "Look, my {obj} is {up}!" said {N}.
        {F} had a good idea. {Fhe} ran and got {help}. | "I know!" said {F}. "We need {help}." | {F} thought and thought. Then {fhe} came back with {help}.
        {N} watched, and {F} {how}. | {F} was not afraid. {Fhe} {how}. | Very slowly, {F} {how}.
        Soon the {obj} was down again. | Down came the {oadj} {obj}! | "Here is your {obj}!" said {F}.
        "Thank you so much!" said {N}. "You are so [kind/clever]." | {N} gave {F} a [big/warm] hug. | "Thank you!" said {N}. "Now I can {ouse} again."
        ? After that, {N} was more careful with the {obj}. | {N} let {F} {ouse}, too. | They were both [proud/glad].
        @friends
        """,
        // Rain spoils the day, and a new plan saves it.
        """
        $plan / inside / cheer = go to the beach / made a beach on the floor with blankets and shells / a beach | have a picnic / had a picnic on the floor with bread and apples / a picnic | go to the zoo / made a zoo with all the toys / a zoo | camp in the yard / made a tent with chairs and a blanket / a camp | go to the fair / made a fair with games and a prize / a fair
        @who
        One [day/morning], {N} and {his} {mom} wanted to {plan}. | {N} and {his} {mom} wanted to {plan}. | "Today we will {plan}!" {his} {mom} said one [day/morning].
        ? {N} put on {his} [shoes/hat] and ran to the door. | {N} put some food in a bag. | {N} was so happy about it.
        But then it began to rain. | But the sky was dark and gray, and soon the rain came down. | Then big drops of rain fell from the sky.
        "Oh no! It is too wet to {plan}," said {N}. | {N} looked out of the window and was [sad/very sad]. | Because of the rain, they could not {plan}. {N} was [sad/very sad].
        ? "I do not like rain!" {he} cried. | {N} sat by the window and waited, but the rain did not stop. | The rain went on and on.
        {His} {mom} said, "Do not be sad. We can have {cheer} in the house!" | "I have an idea," said {his} {mom}. "Let us make {cheer} here!" | {His} {mom} smiled and said, "We do not need the sun to have {cheer}."
        So they {inside}. | Together they {inside}. | They went to work, and soon they {inside}.
        ? {N} asked {his} friend {F} to come, too. | Then {F} came from next door, and they all played. | They sang a song about the rain.
        {N} laughed and forgot all about the rain. | It was [so much/a lot of] fun. | "This is the best day!" said {N}.
        When the rain stopped, {N} did not even see it. | At last the rain stopped, and there was a rainbow in the sky. | Later the sun came out, but {N} wanted to stay inside and play.
        ? "I like rain now," said {N}. | "Can we do this again?" asked {N}. {His} {mom} said yes. | {N} gave {his} {mom} a big hug.
        @end
        """,
        // Sharing food.
        """
        @out
        ? @play
        {He} had a [big/fresh/sweet] {food} in {his} bag. | {His} {mom} gave {him} a [big/nice/fresh] {food} to eat. | {He} had a {food} for lunch.
        {N} sat down to eat the {food}. | {N} was hungry and took out the {food}. | "It is time to eat my {food}," said {N}.
        Then {he} saw {his} friend {F}. {F} looked [sad/very sad]. | {F} came and sat next to {him}. {Fhe} looked at the {food}. | Then {F} came by. {Fhe} had nothing to eat.
        "What is wrong?" asked {N}. "I am [so/very] hungry," said {F}. | "I am hungry," said {F}. "I lost my lunch." | {F} said, "I forgot my lunch, and I am [so/very] hungry."
        ? {N} looked at the {food}. It was {his} only one. | {N} wanted to eat all of the {food}. But {he} did not want {F} to be sad. | {N} thought about it.
        "We can share," said {N}. {He} broke the {food} in two. | {N} cut the {food} in two and gave {F} one half. | "Here, take half of my {food}," said {N}.
        "Thank you so much!" said {F}. | {F} smiled and took it. | "You are so kind," said {F}. "Thank you!"
        They sat together and ate. It was [so/very] good. | The {food} was [so/very] good, and they ate every bit. | It was the best {food} they ever had.
        ? A little {animal} came to look, and they gave it a bit, too. | {N} was not hungry any more. | Sharing made {N} feel warm inside.
        The next day, {F} had a {food}, too, and gave half to {N}. | After that, they always shared their lunch. | "Next time, I will share with you," said {F}.
        @friends
        """,
        // Afraid of the dark.
        """
        $noise / really / light = a tap at the window / a branch in the wind / {He} looked out of the window | a noise under the bed / the cat / {He} looked under the bed | a sound at the door / the dog / {He} looked at the door | a tall shape on the wall / {his} coat on a chair / {He} turned on the light | a noise on the roof / an owl / {He} looked out of the window
        @who
        {N} was afraid of the dark. | {He} liked the day, but {he} did not like the night. | There was one thing {N} did not like. It was the dark.
        One night, {N} was in bed when there was {noise}. | One dark night, {N} could not sleep because there was {noise}. | One night, {N} woke up. There was {noise}!
        {N} was [so/very] scared and hid under the blanket. | "Help!" cried {N}. "There is a monster!" | {He} held {his} pillow and did not move.
        {His} {mom} came into the room. "What is wrong?" asked {his} {mom}. | "What is it?" asked {his} {mom}. | {N} called {his} {mom}, who came at once.
        "There was {noise}," said {N}. "I am scared." | "I think there is a monster here," said {N} in a small voice. | {N} told {his} {mom} about it.
        "Let us look together," said {his} {mom}. "Be brave." | {His} {mom} held {his} hand and said, "Come, we will look." | "Let us find out," said {his} {mom}.
        {N} was brave. {light}. | {N} took a big breath. {light}. | {N} was still scared, but {he} got up. {light}.
        It was only {really}! | There was no monster. It was just {really}. | And what did {he} see? It was {really}!
        ? {N} began to laugh. "How silly!" {he} said. | They both laughed. | "You see?" said {his} {mom}. "There is nothing to fear."
        {His} {mom} gave {him} a little lamp for the night. | {His} {mom} sang a soft song until {N} was asleep. | {N} went back to bed and closed {his} eyes. | {N} hugged {his} {mom} and went back to bed.
        After that, {N} was not afraid of the dark. | From then on, {N} knew that the dark was not so bad. | Now {N} was brave at night. | The next night, {N} was not scared at all.
        """,
        // Baking.
        """
        $cake / extra / color = apple cake / some apples / brown | honey cake / some honey / yellow | berry pie / some berries / red | lemon cake / a lemon / yellow | carrot cake / some carrots / orange | nut cake / some nuts / brown
        $wrong / result / mend = salt, not sugar / it was too salty / took the sugar this time | too much milk / it was too wet / took less milk this time | no sugar / it was not sweet / put in the sugar this time
        @who
        It was {F}'s birthday, and {N} wanted to make {fhim} a {cake}. | One day, {N} wanted to bake a {cake} for {his} friend {F}. | "I want to make a {cake} for {F}," said {N} one morning.
        {His} {mom} said, "I will help you." | {He} asked {his} {mom} to help. | "Can you help me?" {he} asked {his} {mom}.
        They took eggs, milk, and {extra}. | First they got eggs and milk. Then they got {extra}. | "We need eggs, milk, and {extra}," said {his} {mom}.
        {N} mixed it all in a big bowl. | {N} put it all in a bowl and mixed it well. | They mixed it with a big spoon.
        But {N} made a mistake and used {wrong}. | {N} did not think and used {wrong}. | But {N} was in a hurry and used {wrong}.
        When the {cake} was done, {N} tried a bit. Oh no, {result}! | Later they tried the {cake}, and {result}. "Yuck!" said {N}. | So when the {cake} was done, {result}.
        ? {N} was sad. "I did it wrong," {he} said. | "It is bad," said {N} and began to cry. | {N} did not know what to do.
        "That is okay," said {his} {mom}. "We can try again." | {His} {mom} smiled and said, "Everyone makes mistakes. Let us try again." | "Do not give up," said {his} {mom}.
        So they made a new one, and {N} {mend}. | {N} tried again and {mend}. | They did it all again. {N} was careful and {mend}.
        The new {cake} was warm and {color}, and it smelled so good. | This time the {cake} was just right. | Soon there was a {color} {cake} on the table.
        {N} gave it to {F}. "It is the best {cake} ever!" said {F}. | {F} ate a big piece and said, "Yum! Thank you, {N}!" | When {F} saw the {cake}, {fhe} smiled from ear to ear.
        @end
        """,
        // A broken toy is mended.
        """
        $toy / part / with = truck / wheel / glue | toy car / wheel / glue | doll / arm / a needle and thread | toy bear / ear / a needle and thread | kite / tail / some tape | toy boat / sail / some tape | toy plane / wing / glue | robot / leg / glue | toy train / wheel / glue | toy horse / leg / a needle and thread
        $color = red | blue | green | yellow | new | old
        @who
        {N} had a {color} {toy} and played with it every day. | {He} loved {his} {color} {toy} very much. | {His} {mom} gave {him} a {color} {toy}. It was the best toy of all.
        One day, {his} friend {F} came to play. | One [sunny/rainy] day, {N} played with {his} friend {F}. | "Can I play with your {toy}?" asked {his} friend {F} one day. "Yes," said {N}.
        But {F} pulled too hard, and the {part} came off. | {F} let the {toy} fall, and the {part} broke off. | Then {F} fell over the {toy}. Crack! The {part} came off.
        "Oh no! My {toy}!" cried {N}. | {N} was [sad/mad/very sad] and began to cry. | {N} looked at the {toy}. "Now it is broken," {he} said.
        "I am [so/very] sorry," said {F}. "I did not want to break it." | {F} felt bad. "I am sorry," {fhe} said. | "It was a mistake," said {F}. "I am [so/very] sorry."
        ? {N} did not say a word. | {N} took a big breath. "It is okay," {he} said. | {N} saw that {F} was sad, too.
        "I can fix it," said {F}. {Fhe} got {with}. | "Let us fix it together," said {F}. So they went to get {with}. | They asked {his} {mom} for help, and {his} {mom} gave them {with}.
        They put the {part} back on. | {N} held the {toy}, and {F} put the {part} back on. | They worked and worked, and soon the {part} was back on.
        Now the {toy} was as good as new. | "Look, it works!" said {N}. | The {toy} looked a little funny, but {N} loved it even more.
        ? "Thank you for the help," said {N}. | {N} gave {F} a hug. | "Next time, I will be careful," said {F}.
        @friends
        """,
        // A race.
        """
        $place / in = the park / in | the field / in | the forest / in | the meadow / in | the hill / on | the beach / at | the school / at | the farm / at | the lake / at
        $block = fell into the mud | fell over a stone | fell and hurt {fhis} knee | fell over a branch
        @who
        {N} could run very fast, and {he} knew it. | {N} liked to run fast. {He} always wanted to be first. | {N} was the best at races.
        One day, there was a big race {in} {place}. | "Today is the big race!" said {N}. It was {in} {place}. | One [sunny/warm] day, all the children went to {place} for a race.
        The prize was a {oadj} {obj}. | The prize was a {oadj} {obj}. {N} wanted it very much. | "I will win the {oadj} {obj}!" said {N}.
        {His} friend {F} was in the race, too. | "I want to race, too," said {his} friend {F}. | {N} stood next to {his} friend {F}.
        "One, two, three, go!" said the teacher, and they all ran. | A bell rang, and they all ran as fast as they could. | "Go!" said {his} {mom}, and off they ran.
        {N} was first, and {F} was right behind {him}. | {N} ran faster and faster. {F} was close behind. | Soon {N} and {F} were in front of all the others.
        But then {F} {block}. "Ow!" {fhe} cried. | Then {N} heard a cry. {F} {block}. | Near the end, {F} {block}.
        {N} stopped. {He} wanted to win, but {he} wanted to help {F} more. | {N} thought, "I can win, but my friend needs me." So {he} went back. | {N} did not think about the race any more. {He} ran back to {F}.
        "Take my hand," said {N}. {F} got up, and they ran on together. | {N} helped {F} up, and they ran to the end hand in hand. | "Are you okay?" asked {N}. {F} got up and smiled. They ran on side by side.
        They did not win the {obj}, but all the children clapped for them. | They did not get the {obj}, but they were both happy. | They came in last and did not get the {obj}. But everyone said, "Well done!"
        ? "You are a real friend," said {F}. | "Thank you for coming back," said {F}. | {His} {mom} was very proud of {N}.
        @friends
        """,
        // A little animal in need.
        """
        $hurt / care = had a hurt leg / put a soft bandage on its leg | was lost / asked everyone about it | was cold and wet / put a warm scarf around it | was stuck under a branch / lifted the branch with both hands | was stuck in the mud / pulled it out very slowly | was very weak / gave it some fresh water
        @out
        ? @play
        Then {he} heard a small sound. | {He} heard something cry close by. | Suddenly, {he} saw something move.
        It was a little {animal}. It {hurt}. | There was a little {animal}! It {hurt}. | {He} looked and saw a little {animal}. The poor {animal} {hurt}.
        "Poor little {animal}!" said {N}. "I will help you." | "Do not be afraid," said {N} in a soft voice. | {N} felt sorry for the {animal} and wanted to help.
        ? The {animal} was scared at first, but {N} was very gentle. | {N} sat down next to it and did not move for a while. | The {animal} looked at {N} with big eyes.
        So {he} {care}. | {N} was very careful and {care}. | First, {he} {care}.
        Then {he} gave it some {afood} to eat. | The {animal} was hungry, so {N} gave it some {afood}. | {His} {mom} came with some {afood} for the {animal}, and it ate and ate.
        Soon the {animal} felt [better/much better]. | After a while, the {animal} was [strong/happy] again. | The next day, the {animal} was [well/strong] again.
        "Now you can go home," said {N}. | "It is time for you to go home," said {N} with a smile. | {N} took it back to its {ahome}.
        The {animal} looked back one last time and {amoved} away. | The happy {animal} {amoved} around {N} and then went home. | Before it went, the {animal} came close, as if to say thank you.
        ? After that, the {animal} came to see {N} every day. | {N} came back the next day, and the {animal} was there. | {His} {mom} said, "You have a kind heart."
        @end
        """,
        // Building something.
        """
        $built / from / bad / fixed = tree house / old wood / the wind blew it down / used a strong rope | sand castle / wet sand / a wave washed it away / made it far from the water | snow house / snow / the sun melted the roof / made it under a tree | tower / wooden blocks / it fell down / made the bottom bigger | little boat / wood and paper / it filled with water / put wax on the paper | bird house / a wooden box / the roof fell off / used more nails | bridge / stones and wood / the water took it away / used bigger stones
        @who
        One [day/morning], {N} had a big idea. "I will build a {built}!" {he} told {his} friend {F}. | {N} wanted to build a {built} with {his} friend {F}. | "Let us build a {built}," {N} said to {his} friend {F} one day.
        {F} wanted to help. | {F} said, "I will help you build it." | {He} asked {F} to help, and {fhe} said yes.
        They needed {from}, so they went to look for some. | "We need {from}," said {N}. Soon they had enough. | They got a lot of {from}.
        They worked all morning. | {N} and {F} worked very hard. | It was hard work, but it was fun.
        At last, the {built} was done. But then {bad}. | The {built} looked great. But then {bad}! | When it was almost done, {bad}.
        "Oh no!" said {F}. "All our work is gone." | {F} was [sad/very sad], and {N} was, too. | "What will we do now?" asked {F}.
        "Let us try again," said {N}. "We can make it better." | {N} thought for a while. "I know how to make it better!" {he} said. | "We will not give up," said {N}.
        So they built it again, and this time they {fixed}. | They tried again. This time they {fixed}. | {F} had an idea, too, so they {fixed}.
        The new {built} was [strong/very strong] and did not break. | Now it was [strong/very strong], and it stayed that way. | It worked! The new {built} was better than the first one.
        ? {His} {mom} came to see it. "How wonderful!" said {his} {mom}. | A little {animal} came to look at it. | They put a [red/blue/green] flag on top, and it looked great.
        "We did it!" they said. | {N} and {F} were [so/very] proud. | "We are a good team," said {F}.
        @friends
        """,
        // A surprise.
        """
        $sign / found = a note on the door / The note said, "Come to {place}!" | a red string on the floor / The string went all the way to {place}. | some little paper stars on the floor / The stars went all the way to {place}. | a map on the table / The map showed the way to {place}.
        $cake = cake | apple cake | honey cake | berry pie | lemon cake
        @who
        It was {N}'s birthday, but no one said a word about it. | One morning, {N} woke up. It was {his} birthday! But the house was quiet. | {N} was sad because it was {his} birthday and everyone was away.
        ? "Did they all forget?" {he} asked. | {N} looked in every room, but {he} was all alone. | {He} ate {his} breakfast alone.
        Then {N} saw {sign}. | What was that? There was {sign}! | Just then, {he} saw {sign}.
        {found}
        "What can it be?" said {N}, and off {he} went. | {N} wanted to know more, so {he} went to {place}. | {N} put on {his} shoes and ran to {place}.
        ? On the way, {he} met a {animal}, but it did not know anything. | The way was long, but {N} did not stop. | {N} could not wait to get there.
        {In} {place}, it was very quiet. Then everyone jumped out. "Surprise!" | "Surprise!" called {his} {mom} and all {his} friends. | And there they were, all {his} friends! "Happy birthday to you!" they called.
        {F} was there, and {his} {mom} had a big {cake}. | There was a big {cake}, and {F} sang a song. | There were balloons and a big {cake}.
        {F} gave {N} a gift. It was a {oadj} {obj}! | "This is for you," said {F}. It was a {oadj} {obj}! | Then {F} gave {him} a {oadj} {obj}. "I hope you like it," {fhe} said.
        "I love it!" said {N}. "Now I can {ouse}." | {N} wanted to {ouse} right away. | "Thank you!" said {N}. "It is just what I wanted."
        ? "I thought you all forgot," said {N}. "We would never forget you," said {his} {mom}. | They played games and danced all day. | {N} shared the cake with everyone.
        It was the best birthday ever. | {N} was the happiest {kid} in the world. | {N} went to bed with a big smile. | {N} never forgot that day.
        """,
        // Learning to do something.
        """
        $skill / fail / tip = swim / {he} went under the water / Kick your legs | ride a bike / {he} fell on the grass / Look ahead | skate / {he} fell on the ice / Bend your knees | swim / {he} got water in {his} nose / Kick your legs | tie a bow / the string came loose / Make a big loop | read / the words were too long / Say one sound at a time | draw a horse / it looked like a dog / Start with the head | sing / it was too loud / Listen first | jump rope / the rope hit {his} feet / Count to three | climb a tree / {he} slid down again / Hold on with both hands | dance / {he} fell over {his} feet / Listen to the music
        @who
        {N} wanted to learn to {skill}. | There was one thing {N} could not do. {He} could not {skill}. | {His} friend {F} could {skill}, but {N} could not.
        "I want to {skill}, too," {he} said. | "Can you teach me to {skill}?" {he} asked {his} {mom}. | So {he} asked {his} {mom} to help {him}.
        "I will show you," said {his} {mom}. | "Yes, let us try," said {his} {mom}. | {His} {mom} was glad to help.
        {N} tried, but {fail}. | The first time, {fail}. | {He} did {his} best, but {fail}.
        "It is too hard!" cried {N}. | "I cannot do it," said {N}. {He} wanted to give up. | {N} was [sad/mad/very sad].
        "{tip}," said {his} {mom}. "And try again." | {His} {mom} smiled. "{tip}," said {his} {mom}. | "Do not give up," said {his} {mom}. "{tip}."
        ? {His} friend {F} came to watch. "You can do it!" {fhe} called. | {N} took a big breath. | {N} thought about that.
        {N} tried again and again. | Every day, {N} tried again. | The next day, {he} tried again, and it was a little better.
        Then, one day, {he} could do it! | At last it worked! | And then, all at once, {he} did it!
        "Look at me!" {he} called. "I can {skill}!" | "I did it!" said {N}. "I can {skill}!" | {N} could {skill} all by {himself}!
        ? "Well done!" said {his} {mom}. | {His} {mom} clapped and gave {him} a hug. | "I knew you could do it," said {his} {mom}.
        {N} was [so/very] proud. | After that, {N} liked to {skill} every day. | And {N} never gave up again. | That night, {N} told everyone about it.
        """,
        // Kind after being mean.
        """
        @who
        @thing
        One day, {F} came and asked, "Can I {ouse}, too?" | One day, {his} friend {F} wanted to hold the {obj}. | "What a nice {obj}!" said {F} one day. "Can I hold it?"
        "No!" said {N}. "It is mine!" | But {N} did not want to share. "Go away!" {he} said. | {N} held the {obj} and said, "No, you cannot have it!"
        {F} was [sad/very sad] and went away. | {F} began to cry and ran home. | {F} did not say a word. {Fhe} just walked away.
        At first, {N} was glad. But then {he} felt alone. | {N} played alone, but it was no fun. | {N} wanted to {ouse}, but it was no fun alone.
        {He} asked {his} {mom}, "Why do I feel bad?" | {His} {mom} saw {him} and asked, "What is wrong?" | {N} went to {his} {mom} and talked about it.
        "You were mean to your friend," said {his} {mom}. "You can say sorry." | "Friends are better than things," said {his} {mom}. | {His} {mom} said, "How would you feel?"
        {N} thought about it. {He} knew what to do. | "You are right," said {N}. | {N} felt [sorry/very sorry].
        So {he} took the {obj} and went to find {F}. | {He} ran to {F} with the {obj}. | {N} went to the house of {F} and knocked on the door.
        "I am sorry I was mean," said {N}. "Do you want to {ouse}?" | "I am sorry," said {N}. "We can share the {obj}." | {N} gave the {obj} to {F} and said, "I am sorry. It is your turn now."
        {F} smiled. "That is okay," {fhe} said. | "Thank you," said {F}. {Fhe} was not sad any more. | {F} was happy again and gave {N} a hug.
        ? They shared the {obj} all day. | It was much more fun with two. | {N} was happy that {he} said sorry.
        @friends
        """,
        // A wish.
        """
        $giver / magic = an old star fell from the sky / the star | a little fairy came to the window / the fairy | {N} sat at the pond, and a gold fish came up from the water / the fish | {N} met a kind old owl in the garden / the owl
        $wish / then / but / back = to be very big / {he} was as big as a house / {he} could not fit in {his} bed / small | to fly / {he} could fly like a bird / {he} could not come down / on the ground | to be very small / {he} was as small as a mouse / no one could see {him} / big | to have only candy to eat / there was candy everywhere / {his} tummy began to hurt / well | to have no bedtime / it was day all the time / {he} was too tired to play / in bed
        @who
        {N} always wished {wish}. | More than anything, {N} wanted {wish}. | There was one thing {N} wanted. {He} wanted {wish}.
        One night, {giver}. | One [quiet/warm] evening, {giver}. | Then, one [quiet/dark] night, {giver}.
        "I can give you one wish," said {magic}. | "Make a wish," said {magic}. | "Tell me your wish," said {magic} in a soft voice.
        "I wish {wish}!" said {N}. | {N} closed {his} eyes and said, "I wish {wish}." | {N} did not think for long. "I wish {wish}!" {he} said.
        And at once, {then}. | Then there was a bright light, and {then}. | The next morning, {then}!
        At first, it was [so much/a lot of] fun. | {N} was [so/very] happy and laughed. | "This is great!" said {N}.
        But soon, {but}. | Then something went wrong. Now {but}. | But it was not all good, because {but}.
        ? {His} {mom} did not know how to help. | {N} began to cry. | {His} friend {F} wanted to help but could not.
        "I do not want this any more," {he} said. "I want things to be as they were." | {N} called for {magic}. "Please take the wish back!" {he} said. | "Please help me!" {he} said to {magic}. "I made a bad wish."
        "Very well," said {magic}, and then {N} was {back} again. | So {magic} helped {him}, and soon {N} was {back} again. | There was a bright light once more, and {N} was {back} again.
        "Thank you!" said {N}. "I like things just as they are." | {N} laughed and ran to {his} {mom}. | {N} told {F} all about it, and they both laughed.
        @end
        """,
    ];
}
