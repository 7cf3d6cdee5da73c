package caddymodule_test

import (
	"os"
	"path/filepath"
	"testing"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
	"github.com/buildtoken/buildtoken/internal/atomicfile"
	"github.com/buildtoken/buildtoken/internal/crashdisk"
)

// TestPowerCutAtTheFirstStart opens a queue whose directories do not exist yet. Whatever a power
// failure leaves, the server must start again. Once the queue was open, passwords can be sealed and
// triggers be answered, so its file must still be there, with the same key.
func TestPowerCutAtTheFirstStart(t *testing.T) {
	disk := crashdisk.New(t)
	place := filepath.Join("caddy", "build_token", "queue.db")
	first, err := caddymodule.OpenBolt(atomicfile.Files{Disk: disk}, filepath.Join(disk.Root, place))
	if err != nil {
		t.Fatal(err)
	}
	opened := disk.Mark()
	if err := first.Queue.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.Stat(filepath.Join(disk.Root, place))
	if err != nil {
		t.Fatal(err)
	}
	disk.Cuts(t, func(after int, left, what string) {
		switch info, err := os.Stat(filepath.Join(left, place)); {
		case err != nil && after >= opened:
			t.Errorf("%s: %v", what, err)
			return
		case err == nil && info.Size() < whole.Size():
			return // a partly created file is reported to the operator; see TestUnusableFiles
		}
		again, err := caddymodule.OpenBolt(atomicfile.Files{}, filepath.Join(left, place))
		if err != nil {
			t.Errorf("%s: the next start fails: %v", what, err)
			return
		}
		if again.SealKey != first.SealKey && after >= opened {
			t.Errorf("%s: the next start has another key", what)
		}
		if err := again.Queue.Close(); err != nil {
			t.Error(err)
		}
	})
}
