namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>Turns texts without added tokens into ids, and back.</summary>
internal abstract class TokenModel
{
    /// <summary>One more than the highest id of its vocabulary.</summary>
    public abstract int Size { get; }

    /// <summary>The id that stands for what the vocabulary cannot spell; null where there is none.</summary>
    public virtual int? UnknownId => null;

    /// <summary>The id of a token by its text in the vocabulary; null where it has no such token.</summary>
    public abstract int? IdOf(string text);

    /// <summary>The text as it is looked at.</summary>
    /// <param name="text">A text between added tokens.</param>
    /// <param name="first">Whether no added token stands before it.</param>
    public virtual string Normalize(string text, bool first) => text;

    /// <summary>An added token's text as it is looked for in normalized texts.</summary>
    public virtual string NormalizeToken(string text) => text;

    /// <summary>An added token as it stands in texts.</summary>
    public virtual string DecodeToken(string text) => text;

    /// <summary>Appends the ids of a normalized text.</summary>
    /// <exception cref="NibbleException">The text holds what the vocabulary cannot spell and has no id for.</exception>
    public abstract void Encode(string text, List<int> ids);

    /// <summary>The text of ids between added tokens.</summary>
    public abstract string Decode(IReadOnlyList<int> ids);
}
