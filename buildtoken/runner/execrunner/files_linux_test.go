package execrunner_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/runner/execrunner"
)

// A process of an earlier build swaps the folder of an upload and a link to another folder as fast as it can. The file
// gets into the folder or nowhere, at whatever step the swap happens.
func TestFolderThatIsSwappedWhileFilesArePlaced(t *testing.T) {
	ws, upload := t.TempDir(), filepath.Join(t.TempDir(), "upload")
	in, link, other := filepath.Join(ws, "in"), filepath.Join(ws, "link"), filepath.Join(ws, "other")
	if err := errors.Join(os.Mkdir(in, 0o700), os.Mkdir(other, 0o700), os.Symlink("other", link), os.WriteFile(upload, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	stop, swapped := make(chan struct{}), make(chan error, 1)
	go func() { // ends when stop is closed
		var err error
		for err == nil {
			select {
			case <-stop:
				swapped <- nil
				return
			default:
				err = unix.Renameat2(unix.AT_FDCWD, in, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
			}
		}
		swapped <- err
	}()
	for n := range 5000 {
		_ = execrunner.PlaceFiles(ws, []runner.Param{{Name: "in/FILE", File: upload}}) // refused while the link is there
		if _, err := os.Lstat(filepath.Join(other, "FILE")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after %d files, the folder behind the link: %v, want no file in it", n+1, err)
			break
		}
	}
	close(stop)
	if err := <-swapped; err != nil {
		t.Errorf("swap: %v, so this test shows nothing", err)
	}
}
