namespace Nibble.Tests.Shared;

/// <summary>One to four changes of bytes: one set, some taken out, a piece put in or over others, or some of them repeated elsewhere.</summary>
internal sealed class Mutations
{
    private readonly (int Kind, int First, int Second, byte Value)[] changes;

    private Mutations((int Kind, int First, int Second, byte Value)[] changes) => this.changes = changes;

    /// <summary>Any of them.</summary>
    public static Gen<Mutations> Any { get; } = Gen.Select(Gen.Int[0, 4], Gen.Int[0, 1 << 16], Gen.Int[0, 1 << 16], Gen.Byte).Array[1, 4]
        .Select(changes => new Mutations(changes));

    /// <summary>Changes bytes.</summary>
    /// <param name="valid">What to start from, which is left as it is.</param>
    /// <param name="pieces">What may be put in.</param>
    public byte[] Of(byte[] valid, byte[][] pieces)
    {
        var bytes = valid.ToList();
        foreach (var (kind, first, second, value) in changes.Where(_ => bytes.Count > 0))
        {
            var at = first % bytes.Count;
            switch (kind)
            {
                case 0:
                    bytes[at] = value;
                    break;
                case 1:
                    bytes.RemoveRange(at, Math.Min(1 + (second % 12), bytes.Count - at));
                    break;
                case 2:
                    bytes.InsertRange(at, pieces[second % pieces.Length]);
                    break;
                case 3:
                    var piece = pieces[second % pieces.Length];
                    bytes.RemoveRange(at, Math.Min(piece.Length, bytes.Count - at));
                    bytes.InsertRange(at, piece);
                    break;
                default:
                    bytes.InsertRange(at, bytes.GetRange(second % bytes.Count, Math.Min(1 + (value % 64), bytes.Count - (second % bytes.Count))));
                    break;
            }
        }

        return [.. bytes];
    }
}
