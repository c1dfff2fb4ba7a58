namespace Nibble.Samples.Storyteller;

/// <summary>Someone a story can be about.</summary>
internal sealed record Person(string Name, bool IsGirl);

/// <summary>A thing a child can own: the adjectives that fit it, and what one does with it (a phrase that follows "to").</summary>
internal sealed record Thing(string Name, string[] Adjectives, string Use);

/// <summary>A small animal: where it lives, what it eats, how it moves (past tense).</summary>
internal sealed record Animal(string Name, string Home, string Food, string Moved);

/// <summary>A place out of doors with its preposition, and something one does there (past tense).</summary>
internal sealed record Place(string Preposition, string Name, string Did);

/// <summary>The casts and properties from which every story draws.</summary>
internal static class StoryWords
{
    private static readonly string[] Colors = ["red", "blue", "green", "yellow", "orange"];

    public static readonly Person[] People =
    [
        .. Names("Lily Mia Anna Sue Emma Lucy Ella Rose Amy Sara Zoe Kim Molly Nora Ruby Ivy Jane Kate Bella Daisy", true),
        .. Names("Tom Ben Max Sam Jack Tim Leo Dan Finn Noah Bob Joe Luke Adam Alex Nick Oscar Henry Peter Toby", false),
    ];

    public static readonly (string Name, bool IsWoman)[] Relatives =
        [("mom", true), ("dad", false), ("grandma", true), ("grandpa", false), ("big sister", true), ("big brother", false), ("aunt", true), ("uncle", false)];

    public static readonly Thing[] Things =
    [
        T("ball", "big round", "bounce it"), T("kite", "big pretty", "fly it"), T("doll", "pretty little", "dress it"),
        T("toy bear", "soft brown", "hug it"), T("truck", "big fast", "push it"), T("toy car", "fast shiny", "race it"),
        T("toy boat", "little fast", "watch it float"), T("toy train", "long fast", "pull it"), T("book", "big old", "read it"),
        T("hat", "warm funny", "wear it"), T("scarf", "long warm", "wear it"), T("bell", "little shiny", "ring it"),
        T("drum", "big loud", "play it"), T("horn", "shiny loud", "blow it"), T("music box", "little pretty", "listen to it"),
        T("cup", "little pretty", "drink from it"), T("bucket", "big old", "fill it with sand"), T("rope", "long strong", "jump over it"),
        T("basket", "little round", "carry it"), T("blanket", "soft warm", "sleep under it"), T("pillow", "soft big", "hug it"),
        T("ring", "shiny pretty", "wear it"), T("coin", "old shiny", "hold it"), T("shell", "pretty shiny", "listen to it"),
        T("stone", "smooth shiny", "hold it"), T("feather", "long soft", "hold it"), T("lamp", "little old", "turn it on"),
        T("balloon", "big round", "hold it"), T("robot", "shiny funny", "make it walk"), T("puzzle", "big funny", "put it together"),
        T("crown", "shiny pretty", "wear it"), T("flag", "little pretty", "wave it"), T("whistle", "loud shiny", "blow it"),
        T("bag", "big old", "carry it"), T("umbrella", "big pretty", "open it"), T("coat", "warm soft", "wear it"),
        T("spoon", "shiny little", "eat with it"), T("mask", "funny little", "wear it"), T("toy plane", "little fast", "make it fly"),
        T("toy horse", "soft brown", "hug it"),
    ];

    public static readonly Animal[] Animals =
    [
        A("bird", "tree", "seeds", "flew"), A("duck", "pond", "bread", "ran"), A("kitten", "house", "milk", "ran"),
        A("puppy", "house", "meat", "ran"), A("rabbit", "hole", "carrots", "hopped"), A("frog", "pond", "bugs", "hopped"),
        A("mouse", "hole", "cheese", "ran"), A("turtle", "pond", "leaves", "walked"), A("squirrel", "tree", "nuts", "ran"),
        A("lamb", "farm", "grass", "ran"), A("fox", "forest", "berries", "ran"), A("pig", "farm", "corn", "ran"),
        A("goat", "farm", "grass", "walked"), A("owl", "tree", "bugs", "flew"), A("bear", "forest", "honey", "walked"),
        A("hedgehog", "garden", "apples", "walked"), A("pony", "farm", "apples", "walked"), A("deer", "forest", "leaves", "walked"),
        A("hen", "farm", "corn", "ran"), A("chick", "farm", "corn", "hopped"),
    ];

    public static readonly Place[] Places =
    [
        P("in", "park", "ran on the grass"), P("in", "garden", "looked at the flowers"), P("in", "forest", "walked under the trees"),
        P("in", "yard", "jumped up and down"), P("in", "field", "ran in the tall grass"), P("in", "woods", "looked for berries"),
        P("in", "town", "looked at the shops"), P("in", "village", "walked past the houses"), P("in", "barn", "played in the hay"),
        P("in", "meadow", "picked some flowers"), P("in", "valley", "sang a song"), P("in", "playground", "went down the slide"),
        P("at", "beach", "played in the sand"), P("at", "farm", "fed the hens"), P("at", "pond", "looked at the fish"),
        P("at", "lake", "threw stones into the water"), P("at", "river", "watched the boats"), P("at", "zoo", "looked at the lions"),
        P("at", "market", "looked at the fruit"), P("at", "school", "drew a picture"), P("at", "fair", "rode on a pony"),
        P("at", "pool", "splashed in the water"), P("at", "station", "watched the trains"), P("on", "hill", "ran up and down"),
        P("on", "bridge", "looked down at the river"),
    ];

    /// <summary>Food that one child can hold and break in two.</summary>
    public static readonly string[] Foods =
        ["apple", "cookie", "sandwich", "pear", "banana", "pie", "cake", "bun", "peach", "muffin", "roll", "orange"];

    private static IEnumerable<Person> Names(string names, bool girls) => names.Split(' ').Select(name => new Person(name, girls));

    private static Thing T(string name, string adjectives, string use) =>
        new(name, [.. adjectives.Split(' '), .. name == "stone" || adjectives.Contains("brown", StringComparison.Ordinal) ? [] : Colors], use);

    private static Animal A(string name, string home, string food, string moved) => new(name, home, food, moved);

    private static Place P(string preposition, string name, string did) => new(preposition, "the " + name, did);
}
