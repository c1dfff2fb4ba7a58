using Nibble.Cli;

return await NibbleProgram.RunAsync(args, Console.Out, Console.Error).ConfigureAwait(false);
