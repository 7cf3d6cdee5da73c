package execrunner

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// placeFiles copies the uploaded files into the workspace, each under its parameter's name, for the user of the build
// only. Whatever the name was before is replaced, a symbolic link too; none is followed.
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
	if !filepath.IsLocal(p.Name) || p.Name == "." {
		return errors.New("the name leads out of the workspace")
	}
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()

	// The root confines even a build that changes its folders under our feet; the look before each step is for links
	// that stay inside.
	dir, base := filepath.Split(filepath.Clean(p.Name))
	if dir != "" {
		if err := makeFolders(root, filepath.Clean(dir), as); err != nil {
			return err
		}
	}
	temporary := filepath.Join(dir, "."+base+"."+rand.Text())
	if err := copyInto(root, temporary, p.File, as); err != nil {
		return errors.Join(err, removeIfThere(root, temporary))
	}
	if err := root.Rename(temporary, filepath.Join(dir, base)); err != nil {
		return errors.Join(err, removeIfThere(root, temporary))
	}
	return nil
}

// makeFolders makes the folders on the way to dir and refuses a link among them.
func makeFolders(root *os.Root, dir string, as *account) error {
	if parent := filepath.Dir(dir); parent != "." {
		if err := makeFolders(root, parent, as); err != nil {
			return err
		}
	}
	err := root.Mkdir(dir, 0o700)
	if err == nil {
		return as.own(root, dir)
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	st, err := root.Lstat(dir)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return &fs.PathError{Op: "open", Path: dir, Err: errors.New("not a directory")}
	}
	return nil
}

func copyInto(root *os.Root, name, source string, as *account) (err error) {
	in, err := os.Open(source) //nolint:gosec // our own upload folder
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return as.own(root, name)
}

func removeIfThere(root *os.Root, name string) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
