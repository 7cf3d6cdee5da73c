package execrunner_test

import (
	"fmt"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/runner/execrunner"
)

// FuzzParseStat uses names of processes that look like the fields after the name. A build could choose such a name to
// make a process look older than the build, or ended.
func FuzzParseStat(f *testing.F) {
	for _, name := range []string{"sh", "a b", ") Z 1 1", "(", ")", "))", "x) R 0 0 (y", "\n", "\xff", ""} {
		f.Add(name, []byte(name))
	}
	f.Fuzz(func(t *testing.T, name string, raw []byte) {
		execrunner.ParseStat(raw) // must not panic
		line := fmt.Sprintf("42 (%s) S 1 4711 4711 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 123456 2777088 0\n", name)
		if state, began, _ := execrunner.ParseStat([]byte(line)); state != 'S' || began != 123456 {
			t.Errorf("a process called %q: state %c, began %d", name, state, began)
		}
	})
}
