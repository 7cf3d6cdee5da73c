package caddymodule

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

// errKey says that a key file can't be used as it is.
var errKey = errors.New("not a usable key file")

// openKey reads a key file, or makes it if there is none. Only one process may
// do so at a time.
func openKey(path string) (key vault.Key, made bool, err error) {
	key, err = readKey(path)
	if !errors.Is(err, os.ErrNotExist) {
		return key, false, err
	}
	key = vault.NewKey()
	if err := writeKey(path, key); err != nil {
		return vault.Key{}, false, fmt.Errorf("make %s: %w", path, err)
	}
	return key, true, nil
}

// readKey reads 64 hexadecimal digits and at most one line end.
func readKey(path string) (vault.Key, error) {
	var key vault.Key
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return key, fmt.Errorf("%w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return key, fmt.Errorf("%w", err)
	}
	switch {
	case !info.Mode().IsRegular():
		return key, fmt.Errorf("%w: %s is not a regular file", errKey, path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0:
		// The group may have access: Kubernetes gives it with fsGroup at each mount.
		return key, fmt.Errorf("%w: every user of this machine may access %s (mode %04o); chmod 600 it, or replace it if it may have been read", errKey, path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, 128))
	if err != nil {
		return key, fmt.Errorf("%w", err)
	}
	key, err = parseKey(bytes.TrimRight(text, "\r\n"))
	if err != nil {
		return vault.Key{}, fmt.Errorf("%w: %s holds %w", errKey, path, err)
	}
	return key, nil
}

// parseKey reads a key. The errors show nothing of it, and follow a word like holds.
func parseKey(digits []byte) (key vault.Key, err error) {
	if len(digits) != hex.EncodedLen(len(key)) {
		return key, fmt.Errorf("%d characters, want %d hexadecimal digits", len(digits), hex.EncodedLen(len(key)))
	}
	// The error of package hex quotes a character, and it is a secret.
	if _, err := hex.Decode(key[:], digits); err != nil {
		return vault.Key{}, errors.New("something else than hexadecimal digits")
	}
	return key, nil
}

// writeKey puts the whole key there or nothing, and returns once it is on disk.
func writeKey(path string, key vault.Key) (err error) {
	folder := filepath.Dir(path)
	f, err := os.CreateTemp(folder, filepath.Base(path)+".*.new") // mode 0600
	if err != nil {
		return fmt.Errorf("%w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the error that counts is err
		}
	}()
	_, err = f.WriteString(hex.EncodeToString(key[:]) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("%w", err)
	}
	return syncFolder(folder)
}

// syncFolder makes a new name durable. Windows has no such thing.
func syncFolder(folder string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(folder) //nolint:gosec // the operator names the folder
	if err != nil {
		return fmt.Errorf("%w", err)
	}
	return errors.Join(f.Sync(), f.Close())
}
