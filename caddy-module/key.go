package caddymodule

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/buildtoken/buildtoken/buildtoken/vault"
	"github.com/buildtoken/buildtoken/internal/atomicfile"
)

// errKey is returned for a key file that cannot be used as it is.
var errKey = errors.New("not a usable key file")

// openKey reads a key file, or creates it if there is none. Only one process may call it
// for a path at a time.
func openKey(files atomicfile.Files, path string) (key vault.Key, made bool, err error) {
	key, err = readKey(path)
	if !errors.Is(err, os.ErrNotExist) {
		return key, false, err
	}
	key = vault.NewKey()
	if err := writeKey(files, path, key); err != nil {
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
		return key, fmt.Errorf("mode of the key: %w", err)
	}
	switch {
	case !info.Mode().IsRegular():
		return key, fmt.Errorf("%w: %s is not a regular file", errKey, path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0:
		// The group may have access: with fsGroup, Kubernetes grants it at each mount.
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

// parseKey parses a key. Its errors do not quote the key; they continue a sentence such as
// "the file holds …".
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

// writeKey writes the key atomically, and returns when it is durable.
func writeKey(files atomicfile.Files, path string, key vault.Key) error {
	return files.Write(path, func(w io.Writer) error {
		_, err := io.WriteString(w, hex.EncodeToString(key[:])+"\n")
		return err
	})
}
