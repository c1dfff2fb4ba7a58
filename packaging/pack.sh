#!/usr/bin/env bash
# Makes the packages: pack.sh OUTPUT [VERSION] [BASELINE]
#   OUTPUT    the folder that takes the NuGet packages, their symbols, and the folder nibble-RUNTIME for people without the SDK
#   VERSION   default: the version of the repository
#   BASELINE  a version in OUTPUT or on the gallery that the public API must be compatible with; default: none
# RUNTIME in the environment is the system of the tool package: linux-x64 (default), osx-arm64 or win-x64.
# Intermediate files go to a temporary folder: the repository's own builds are not touched.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

output=$(realpath -m "$1")
runtime=${RUNTIME:-linux-x64}
artifacts=$(mktemp -d)
trap 'rm -rf "$artifacts"' EXIT

# Analyzers ran when the repository was built. Paths in the assemblies are those of a deterministic build.
settings=(--configuration Release --artifacts-path "$artifacts" --output "$output"
    -p:ContinuousIntegrationBuild=true "-p:PathMap=$artifacts/=/_/" -p:RunAnalyzers=false)
[[ -z ${2:-} ]] || settings+=("-p:Version=$2")
library=("${settings[@]}")
[[ -z ${3:-} ]] || library+=("-p:PackageValidationBaselineVersion=$3" "-p:RestoreAdditionalProjectSources=$output")

for project in Nibble Nibble.Torch Nibble.Onnx; do
    dotnet pack "src/$project" "${library[@]}"
done

# The package that the gallery finds, and the one with the program for this system.
dotnet pack src/Nibble.Cli "${settings[@]}" -p:CreateRidSpecificToolPackages=false
dotnet pack src/Nibble.Cli "${settings[@]}" --runtime "$runtime"

rm -rf "$output/nibble-$runtime"
mv "$artifacts/publish/Nibble.Cli/release_$runtime" "$output/nibble-$runtime"
