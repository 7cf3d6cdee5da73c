package buildtoken_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/buildtoken/buildtoken"

// floors returns the floor of each package, by its folder. A package imports only
// lower floors, never its own, so that it can be understood without the packages
// above and beside it. The exception is buildtoken/web: the packages below it share
// and import it. A new package gets its line here first.
func floors() map[string]int {
	return map[string]int{
		// Pure: values in, values out.
		"buildtoken/event": 0,
		"buildtoken/job":   0,
		"buildtoken/token": 0,
		"buildtoken/queue": 0,

		// Not pure, but as small: all goroutines that wait for a change use it.
		"buildtoken/watch": 0,

		// Small; leave no goroutine behind.
		"buildtoken/console":    1,
		"buildtoken/hook":       1,
		"buildtoken/deliveries": 1,
		"buildtoken/policy":     1,
		"buildtoken/runner":     1,
		"buildtoken/stats":      1,
		"buildtoken/spans":      1,
		"buildtoken/usage":      1,
		"buildtoken/throttle":   1,
		"buildtoken/vault":      1,
		"internal/atomicfile":   1,
		"buildtoken/schedule":   1,
		"buildtoken/notify":     1,

		// These read the home directory of a Jenkins for the import command. The library does
		// not need them.
		"caddy-module/jenkinshome":   1,
		"caddy-module/jenkinsimport": 2,

		// Each does one thing in the world, independently of the others.
		"buildtoken/audit":                2,
		"buildtoken/boltqueue":            2,
		"buildtoken/build":                2,
		"buildtoken/share":                2,
		"buildtoken/definition":           2,
		"buildtoken/leftover":             2,
		"buildtoken/executor":             2,
		"buildtoken/timer":                2,
		"buildtoken/pgqueue":              2,
		"buildtoken/outbox":               2,
		"buildtoken/notify/receiver":      2,
		"buildtoken/runner/execrunner":    2,
		"buildtoken/runner/httprunner":    2,
		"buildtoken/runner/jenkinsrunner": 2,

		// Test support. The torture harness uses the first two too.
		"internal/pgserver":    1,
		"internal/filetest":    1,
		"internal/jenkinstest": 1,
		"internal/crashdisk":   2,
		"internal/pgtest":      2,
		"internal/queuetest":   2,
		"internal/runnertest":  2,

		"buildtoken":              3, // wires the floors below
		"buildtoken/web":          4, // knows net/http; shared by the packages below it
		"buildtoken/web/hooks":    4, // signed deliveries
		"buildtoken/web/jenkins":  4, // Jenkins' remote API
		"buildtoken/web/pages":    4, // HTML
		"buildtoken/web/triggers": 4, // what a token opens
		"caddy-module":            5, // knows Caddy
		"cmd/caddy":               6, // the program
		"cmd/jenkinstest":         6, // a program that behaves like Jenkins
		"cmd/torture":             6, // kills the program; knows it from outside only
	}
}

// TestFloors reads the imports from the source instead of running `go list`. So it
// covers the files for every operating system, and its result is not taken from the
// cache when a file of another package has changed.
func TestFloors(t *testing.T) {
	packages, err := readPackages("..")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(packages, func(p source) bool { return p.folder == "cmd/caddy" }) {
		t.Fatalf("read %d packages, cmd/caddy is not among them", len(packages))
	}
	for _, p := range packages {
		for _, complaint := range complaints(floors(), p) {
			t.Error(complaint)
		}
	}
}

// maxControllerFiles keeps package buildtoken small enough to be read in one go. What
// does not need the [buildtoken.Controller] belongs in a package on a lower floor.
const maxControllerFiles = 8

func TestControllerHasFewFiles(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(file string) bool { return strings.HasSuffix(file, "_test.go") })
	if len(files) == 0 || len(files) > maxControllerFiles {
		t.Errorf("package buildtoken has %d files: %s; want at most %d", len(files), strings.Join(files, " "), maxControllerFiles)
	}
}

// TestContributingShowsFloors compares the table of floors in CONTRIBUTING.md with that of
// [floors]. It leaves out test support, which the text below the table names.
func TestContributingShowsFloors(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]int{}
	for _, row := range regexp.MustCompile(`(?m)^\| ([0-6]) \| ([^|]*) \|`).FindAllStringSubmatch(string(text), -1) {
		floor, _ := strconv.Atoi(row[1])
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[2], -1) {
			folder := name[1]
			if _, known := floors()[folder]; !known {
				folder = "buildtoken/" + folder
			}
			shown[folder] = floor
		}
	}
	want := floors()
	maps.DeleteFunc(want, func(folder string, _ int) bool {
		return strings.HasPrefix(folder, "internal/") && folder != "internal/atomicfile" ||
			folder == "cmd/jenkinstest" || folder == "cmd/torture"
	})
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Errorf("table of floors in CONTRIBUTING.md (-want +got):\n%s", diff)
	}
}

// TestFloorsAreKept shows that each rule can be broken.
func TestFloorsAreKept(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   source
		want []string
	}{
		{
			"lower floors are allowed",
			source{folder: "buildtoken/executor", imports: []string{"sync", module + "/buildtoken/queue", module + "/buildtoken/runner"}},
			nil,
		},
		{
			"a package that is not in the table",
			source{folder: "buildtoken/util"},
			[]string{"buildtoken/util: not in the table of floors"},
		},
		{
			"an import of a package that is not in the table",
			source{folder: "buildtoken", imports: []string{module + "/buildtoken/util"}},
			[]string{"buildtoken (floor 3) imports buildtoken/util, which is not in the table of floors"},
		},
		{
			"its own floor",
			source{folder: "buildtoken/token", imports: []string{module + "/buildtoken/job"}},
			[]string{"buildtoken/token (floor 0) imports buildtoken/job (floor 0)"},
		},
		{
			"a higher floor",
			source{folder: "buildtoken/policy", imports: []string{module + "/buildtoken"}},
			[]string{"buildtoken/policy (floor 1) imports buildtoken (floor 3)"},
		},
		{
			"the package that web's packages share",
			source{folder: "buildtoken/web/pages", imports: []string{module + "/buildtoken/web"}},
			nil,
		},
		{
			"a package of web beside it",
			source{folder: "buildtoken/web/pages", imports: []string{module + "/buildtoken/web/jenkins"}},
			[]string{"buildtoken/web/pages (floor 4) imports buildtoken/web/jenkins (floor 4)"},
		},
		{
			"a lock in a pure package",
			source{folder: "buildtoken/queue", imports: []string{"sync", "sync/atomic", "time"}},
			[]string{"buildtoken/queue is pure and imports sync", "buildtoken/queue is pure and imports sync/atomic"},
		},
		{
			"Caddy outside the adapter",
			source{folder: "buildtoken/web/jenkins", imports: []string{"github.com/caddyserver/caddy/v2/modules/caddyhttp"}},
			[]string{"buildtoken/web/jenkins imports github.com/caddyserver/caddy/v2/modules/caddyhttp: only caddy-module and cmd know Caddy"},
		},
		{
			"Caddy in a test outside the adapter",
			source{folder: "buildtoken", testImports: []string{"github.com/caddyserver/caddy/v2"}},
			[]string{"buildtoken imports github.com/caddyserver/caddy/v2: only caddy-module and cmd know Caddy"},
		},
		{
			"Caddy in the adapter is allowed",
			source{folder: "caddy-module", imports: []string{"github.com/caddyserver/caddy/v2"}},
			nil,
		},
		{
			"a backend in the package that takes it as an interface",
			source{folder: "buildtoken", imports: []string{module + "/buildtoken/boltqueue"}},
			[]string{"buildtoken imports buildtoken/boltqueue: the embedder opens it and passes it in"},
		},
		{
			"a backend in a test of that package is allowed",
			source{folder: "buildtoken", testImports: []string{module + "/buildtoken/boltqueue"}},
			nil,
		},
		{
			"testing in what is linked into a program",
			source{folder: "caddy-module", imports: []string{"testing", module + "/internal/queuetest"}},
			[]string{
				"caddy-module imports testing outside a test",
				"caddy-module imports internal/queuetest outside a test",
			},
		},
		{
			"testing in a conformance suite is allowed",
			source{folder: "internal/queuetest", imports: []string{"testing", "testing/synctest", module + "/buildtoken/queue"}},
			nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, complaints(floors(), tt.in)); diff != "" {
				t.Errorf("complaints (-want +got):\n%s", diff)
			}
		})
	}
}

// source is one package of this module with its imports on all systems.
type source struct {
	folder      string // from the root of the module, with slashes
	imports     []string
	testImports []string
}

// complaints returns a message for each import of p that breaks a rule.
func complaints(floors map[string]int, p source) []string {
	floor, known := floors[p.folder]
	if !known {
		return []string{p.folder + ": not in the table of floors"}
	}
	var found []string
	complain := func(format string, args ...any) {
		found = append(found, p.folder+fmt.Sprintf(format, args...))
	}
	for _, imported := range p.imports {
		ours, isOurs := inModule(imported)
		switch below, listed := floors[ours]; {
		case isOurs && !listed:
			complain(" (floor %d) imports %s, which is not in the table of floors", floor, ours)
		case isOurs && below >= floor && (ours != web || !under(web, p.folder)):
			complain(" (floor %d) imports %s (floor %d)", floor, ours, below)
		case floor == 0 && p.folder != "buildtoken/watch" && impure(imported):
			complain(" is pure and imports %s", imported)
		case isOurs && p.folder == "buildtoken" && passedIn(ours):
			complain(" imports %s: the embedder opens it and passes it in", ours)
		case forTests(p.folder):
		case imported == "testing" || strings.HasPrefix(imported, "testing/"):
			complain(" imports %s outside a test", imported)
		case isOurs && forTests(ours):
			complain(" imports %s outside a test", ours)
		}
	}
	for _, imported := range slices.Concat(p.imports, p.testImports) {
		if floor < floors["caddy-module"] && under("github.com/caddyserver", imported) {
			complain(" imports %s: only caddy-module and cmd know Caddy", imported)
		}
	}
	return found
}

// web is the package that packages on its own floor can import, if they are below it.
const web = "buildtoken/web"

// inModule returns the folder of an imported package, if it is one of this module.
func inModule(imported string) (folder string, ok bool) {
	return strings.CutPrefix(imported, module+"/")
}

// impure reports whether a pure package must not import the package: it does I/O,
// synchronizes goroutines, or cancels calls.
func impure(imported string) bool {
	return slices.ContainsFunc([]string{"net/http", "os", "sync", "context"}, func(tree string) bool {
		return under(tree, imported)
	})
}

// passedIn reports whether the library uses the package only through an interface,
// so that a program links only the ones that it opens.
func passedIn(folder string) bool {
	return slices.Contains([]string{
		"buildtoken/boltqueue", "buildtoken/pgqueue",
		"buildtoken/runner/execrunner", "buildtoken/runner/httprunner", "buildtoken/runner/jenkinsrunner",
		"buildtoken/notify/receiver",
	}, folder)
}

// forTests reports whether only tests may import the package.
func forTests(folder string) bool {
	return slices.Contains([]string{"internal/crashdisk", "internal/filetest", "internal/pgtest", "internal/queuetest", "internal/runnertest"}, folder)
}

// under reports whether an imported package is tree or stands below it.
func under(tree, imported string) bool {
	return imported == tree || strings.HasPrefix(imported, tree+"/")
}

// readPackages reads the imports of each package of the module at root.
func readPackages(root string) ([]source, error) {
	found := make(map[string]*source)
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return enter(root, file, entry)
		}
		if filepath.Ext(file) != ".go" {
			return nil
		}
		relative, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		folder := path.Dir(filepath.ToSlash(relative))
		if found[folder] == nil {
			found[folder] = &source{folder: folder}
		}
		return found[folder].read(file)
	})
	if err != nil {
		return nil, err
	}
	packages := make([]source, 0, len(found))
	for _, folder := range slices.Sorted(maps.Keys(found)) {
		packages = append(packages, *found[folder])
	}
	return packages, nil
}

// enter skips the folders in which the go command sees no package of this module.
func enter(root, folder string, entry fs.DirEntry) error {
	if folder == root {
		return nil
	}
	name := entry.Name()
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "node_modules" {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
		return fs.SkipDir // a separate module
	}
	return nil
}

// read adds the imports of one file.
func (s *source) read(file string) error {
	syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		return err
	}
	imports := &s.imports
	if strings.HasSuffix(file, "_test.go") {
		imports = &s.testImports
	}
	for _, spec := range syntax.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		if !slices.Contains(*imports, imported) {
			*imports = append(*imports, imported)
		}
	}
	return nil
}
