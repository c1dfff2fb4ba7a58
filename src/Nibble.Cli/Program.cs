using Nibble.Cli;
using Nibble.Cli.Engines;

return args is [LlamaCppServer.Verb, .. var rest]
    ? LlamaCppServer.Run(rest)
    : await NibbleProgram.RunAsync(args, Console.Out, Console.Error).ConfigureAwait(false);
