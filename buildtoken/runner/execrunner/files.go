package execrunner

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// placeFiles copies the uploaded files into the workspace, each under its parameter's name and readable by the build's
// user only. A file or symbolic link of that name is replaced, never followed.
func placeFiles(workspace string, params []runner.Param, as *account) error {
	for _, p := range params {
		if p.File == "" {
			continue
		}
		if err := placeFile(workspace, p, as); err != nil {
			return fmt.Errorf("parameter %s: place the file: %w", p.Name, err)
		}
	}
	return nil
}

func placeFile(workspace string, p runner.Param, as *account) (err error) {
	if !filepath.IsLocal(p.Name) || filepath.Clean(p.Name) == "." {
		return errors.New("the name leads out of the workspace")
	}
	dir, base := filepath.Split(filepath.Clean(p.Name))
	folder, err := enter(workspace, dir, as)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	temporary := "." + base + "." + rand.Text()
	err = copyInto(folder, temporary, p.File, as)
	if err == nil {
		err = folder.Rename(temporary, base)
	}
	if err != nil {
		_ = folder.Remove(temporary) // which may not be there
	}
	return err
}

// enter opens the folder dir below the workspace, and creates what is missing of it. Builds can change these folders meanwhile,
// so each is entered by the descriptor of the one above, and a link is refused even if it leads nowhere else.
func enter(workspace, dir string, as *account) (*os.Root, error) {
	folder, err := os.OpenRoot(workspace)
	if err != nil {
		return nil, err
	}
	for _, name := range strings.Split(filepath.ToSlash(dir), "/") {
		if name == "" {
			continue
		}
		below, err := enterOne(folder, name, as)
		if err := errors.Join(err, folder.Close()); err != nil {
			return nil, err
		}
		folder = below
	}
	return folder, nil
}

func enterOne(folder *os.Root, name string, as *account) (*os.Root, error) {
	made := folder.Mkdir(name, 0o700)
	if made != nil && !errors.Is(made, fs.ErrExist) {
		return nil, made
	}
	seen, err := folder.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !seen.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("not a directory")}
	}
	below, err := openSeen(folder, name, seen)
	if err != nil {
		return nil, err
	}
	if made == nil {
		if err := as.own(below, "."); err != nil { // not by the name, which a build can give to another folder
			return nil, errors.Join(err, below.Close())
		}
	}
	return below, nil
}

// openSeen opens a folder as Lstat has seen it, and refuses what has taken its place since: a link, or another folder.
func openSeen(folder *os.Root, name string, seen fs.FileInfo) (*os.Root, error) {
	below, err := folder.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	opened, err := below.Stat(".")
	if err == nil && !os.SameFile(seen, opened) {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("replaced meanwhile")}
	}
	if err != nil {
		return nil, errors.Join(err, below.Close())
	}
	return below, nil
}

func copyInto(folder *os.Root, name, source string, as *account) (err error) {
	in, err := os.Open(source) //nolint:gosec // our own upload folder
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := folder.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil && as != nil && as.other {
		err = out.Chown(int(as.uid), int(as.gid)) // not by the name, which a build can give to another file
	}
	return errors.Join(err, out.Close())
}
