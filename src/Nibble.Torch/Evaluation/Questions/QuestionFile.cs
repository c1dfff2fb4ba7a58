using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Nibble.Files;

namespace Nibble.Torch.Evaluation.Questions;

/// <summary>The questions of a task file.</summary>
/// <param name="Name">The name of the file without extension.</param>
/// <param name="Layout">The layout of its lines.</param>
/// <param name="Questions">The questions, at least one.</param>
internal sealed record QuestionFile(string Name, QuestionLayout Layout, IReadOnlyList<Question> Questions)
{
    private const string Separator = "\n\n";

    /// <summary>The number of examples before each question.</summary>
    public int Shots { get; private init; }

    /// <summary>A hash of everything that scores depend on.</summary>
    public string Hash
    {
        get
        {
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            foreach (var question in Questions)
            {
                // The length before each text tells "ab", "c" from "a", "bc".
                foreach (var text in question.Candidates.SelectMany(candidate => new[] { candidate.Context, candidate.Continuation }).Prepend(question.Prefix))
                {
                    var bytes = Encoding.UTF8.GetBytes(text);
                    hash.AppendData(BitConverter.GetBytes(bytes.Length));
                    hash.AppendData(bytes);
                }

                hash.AppendData(BitConverter.GetBytes(question.Candidates.Count));
                hash.AppendData(BitConverter.GetBytes(question.Answer));
            }

            return $"{Layout.Name} {Convert.ToHexStringLower(hash.GetHashAndReset())}";
        }
    }

    /// <summary>Reads a file of JSON lines.</summary>
    /// <param name="path">The file, which may be a pipe.</param>
    /// <param name="cancellation">Cancels waiting for a pipe.</param>
    /// <exception cref="NibbleException">
    /// The file is missing or not UTF-8 text, has no known layout, or has a line of another layout or without a valid answer.
    /// </exception>
    public static QuestionFile Read(string path, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (!File.Exists(path))
        {
            throw new NibbleException(Directory.Exists(path) ? $"{path} is a folder, expected a file with JSON lines" : $"{path}: no such task file");
        }

        return Parse(InputFile.ReadText(path, cancellation), path);
    }

    /// <summary>Reads JSON lines. Lines without text are skipped.</summary>
    /// <param name="text">The text.</param>
    /// <param name="path">The name of the file, for messages.</param>
    /// <exception cref="NibbleException">As for <see cref="Read"/>.</exception>
    public static QuestionFile Parse(string text, string path)
    {
        ArgumentNullException.ThrowIfNull(text);
        QuestionLayout? layout = null;
        var questions = new List<Question>();
        using var reader = new StringReader(text);
        for (var number = 1; reader.ReadLine() is { } line; number++)
        {
            if (!string.IsNullOrWhiteSpace(line))
            {
                questions.Add(Parse(line, string.Create(CultureInfo.InvariantCulture, $"{path}: line {number}"), ref layout));
            }
        }

        return layout is null
            ? throw new NibbleException($"{path}: the file has no lines, expected one JSON object per line")
            : new QuestionFile(Path.GetFileNameWithoutExtension(path), layout, questions);
    }

    /// <summary>Puts examples before the questions, and takes some of them.</summary>
    /// <remarks>The examples of a question are the first ones of its subject, in the order of their file.</remarks>
    /// <param name="shots">The number of examples before each question.</param>
    /// <param name="examples">
    /// The file of the examples. Null takes them from this file, and those questions are not asked.
    /// </param>
    /// <param name="most">The maximum number of questions, from the start. Null takes all.</param>
    /// <exception cref="NibbleException">There are too few examples, they have another layout, or no question is left.</exception>
    public QuestionFile Prepare(int shots, QuestionFile? examples, int? most)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(shots);
        if (examples is not null && examples.Layout != Layout)
        {
            throw new NibbleException($"{examples.Name} has the {examples.Layout.Name} layout, expected the one of {Name}, {Layout.Name}");
        }

        var bySubject = (examples ?? this).Questions.GroupBy(question => question.Subject ?? string.Empty, StringComparer.Ordinal)
            .ToDictionary(group => group.Key, group => group.Take(shots).ToList(), StringComparer.Ordinal);
        var taken = examples is null ? bySubject.Values.SelectMany(some => some).ToHashSet(ReferenceEqualityComparer.Instance) : [];
        var asked = Questions.Where(question => !taken.Contains(question)).Take(most ?? int.MaxValue).ToList();
        if (asked.Count == 0)
        {
            throw new NibbleException(
                $"{Name}: all {Questions.Count} questions are examples, so none is left to ask; use fewer examples, or a file of their own");
        }

        var prefixes = new Dictionary<string, string>(StringComparer.Ordinal);
        return this with { Shots = shots, Questions = [.. asked.Select(question => question with { Prefix = Prefix(question) })] };

        string Prefix(Question question)
        {
            var subject = question.Subject ?? string.Empty;
            if (!prefixes.TryGetValue(subject, out var prefix))
            {
                var found = bySubject.GetValueOrDefault(subject) ?? [];
                if (found.Count < shots)
                {
                    var ofSubject = subject.Length > 0 ? $" of the subject '{subject}'" : string.Empty;
                    throw new NibbleException(
                        $"{(examples ?? this).Name} has {found.Count} questions{ofSubject}, expected at least {shots}, as many as there are examples before a "
                        + "question");
                }

                prefix = question.Description + string.Concat(found.Select(example => example.Example + Separator));
                prefixes.Add(subject, prefix);
            }

            return prefix;
        }
    }

    private static Question Parse(string line, string place, ref QuestionLayout? layout)
    {
        try
        {
            using var document = JsonDocument.Parse(line);
            var item = document.RootElement;
            if (item.ValueKind != JsonValueKind.Object)
            {
                throw new NibbleException($"{place} is {item.ValueKind.ToString().ToLowerInvariant()}, expected a JSON object");
            }

            layout ??= QuestionLayout.All.FirstOrDefault(known => known.Fields.All(field => item.TryGetProperty(field, out _)))
                ?? throw new NibbleException(
                    $"{place} has none of the known layouts, expected the fields of one of "
                    + string.Join("; ", QuestionLayout.All.Select(known => $"{known.Name} ({string.Join(", ", known.Fields)})")));
            return layout.Parse(new QuestionRow(item, place, layout.Name));
        }
        catch (JsonException exception)
        {
            throw new NibbleException($"{place} is not JSON: {exception.Message}", exception);
        }
        catch (InvalidOperationException exception)
        {
            // The JSON library accepts an escape such as \ud800, half a character, until the text is read.
            throw new NibbleException($"{place} has text that is not Unicode: {exception.Message}", exception);
        }
    }
}
