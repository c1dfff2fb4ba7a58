using Nibble.Torch.Native;
using Nibble.Torch.Tests.Shared;

[assembly: AssemblyFixture(typeof(SingleThread))]

namespace Nibble.Torch.Tests.Shared;

/// <summary>Loads libtorch and keeps it to one thread, so that sums come in one order and tests do not crowd each other out.</summary>
public sealed class SingleThread
{
    public SingleThread()
    {
        TorchRuntime.EnsureLoaded();
        TorchSharp.torch.set_num_threads(1);
    }
}
