// Command typecheck checks the types of all packages and their tests for other
// platforms, without compiling anything. That takes a minute or less for each, where
// building all of Caddy takes several.
//
// Usage, from the root of the repository (or `make typecheck`):
//
//	go run -C tools ./typecheck windows/amd64 darwin/arm64
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"strings"

	"golang.org/x/tools/go/packages"
)

// everything loads dependencies as source: reading compiled packages would compile them.
const everything = packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports |
	packages.NeedDeps | packages.NeedTypes | packages.NeedTypesSizes | packages.NeedSyntax

func main() {
	log.SetFlags(0)
	log.SetPrefix("typecheck: ")
	root := flag.String("root", "..", "the repository's root")
	flag.Parse()
	failed := 0
	for _, platform := range flag.Args() {
		system, arch, ok := strings.Cut(platform, "/")
		if !ok {
			log.Fatalf("a platform is written as windows/amd64, not %q", platform)
		}
		fmt.Println(platform)
		loaded, err := packages.Load(&packages.Config{
			Mode:  everything,
			Dir:   *root,
			Tests: true,
			Env:   append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+arch),
		}, "./...")
		if err != nil {
			log.Fatal(err)
		}
		failed += packages.PrintErrors(loaded)
	}
	if failed > 0 {
		os.Exit(1)
	}
}
