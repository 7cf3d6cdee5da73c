package pgserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Save stops the server, copies its data, and starts it again.
func (s *Server) Save() error {
	if err := errors.Join(s.end(), os.RemoveAll(s.saved())); err != nil {
		return err
	}
	return errors.Join(copyAll(s.data(), s.saved()), s.Run())
}

// PutBack stops the server and starts it with the data that [Server.Save] has copied.
func (s *Server) PutBack() error {
	if err := errors.Join(s.end(), os.RemoveAll(s.data())); err != nil {
		return err
	}
	return errors.Join(copyAll(s.saved(), s.data()), s.Run())
}

func (s *Server) saved() string { return s.data() + ".saved" }

// copyAll copies a folder with owners and permissions.
func copyAll(from, to string) error {
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("pgserver: copy: %w\n%s", err, out)
	}
	return nil
}
