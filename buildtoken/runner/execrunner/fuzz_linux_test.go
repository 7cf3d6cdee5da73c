package execrunner_test

import (
	"fmt"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/runner/execrunner"
)

// FuzzParseStat gives processes names that look like what follows the name, as
// a build may to pass for a member of another, or for one that has ended.
func FuzzParseStat(f *testing.F) {
	for _, name := range []string{"sh", "a b", ") Z 1 1", "(", ")", "))", "x) R 0 0 (y", "\n", "\xff", ""} {
		f.Add(name, []byte(name))
	}
	f.Fuzz(func(t *testing.T, name string, raw []byte) {
		execrunner.ParseStat(raw) // whatever it is
		line := fmt.Sprintf("42 (%s) S 1 4711 4711 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 123456 2777088 0\n", name)
		if state, group, began := execrunner.ParseStat([]byte(line)); state != 'S' || group != 4711 || began != 123456 {
			t.Errorf("a process called %q: state %c, group %d, began %d", name, state, group, began)
		}
	})
}
