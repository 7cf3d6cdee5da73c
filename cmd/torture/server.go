package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// server is one life of the binary.
type server struct {
	cmd     *exec.Cmd
	started time.Time
	log     string // the path of its log
	// dying is set before the harness ends it.
	dying atomic.Bool
	// answered is set when it has answered a request.
	answered atomic.Bool
	// ended is closed when the process has ended; err is its error.
	ended chan struct{}
	err   error
}

// startServer starts the binary with the Caddyfile of the site.
func startServer(binary string, s site, life int, text string) (*server, error) {
	config := filepath.Join(s.home, "Caddyfile")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write the Caddyfile: %w", err)
	}
	name := filepath.Join(s.home, fmt.Sprintf("life-%d.log", life))
	log, err := os.Create(name) //nolint:gosec // in our own folder
	if err != nil {
		return nil, fmt.Errorf("make a log: %w", err)
	}
	defer func() { _ = log.Close() }()                     // the process has its own
	cmd := exec.Command(binary, "run", "--config", config) //nolint:gosec,noctx // the program under test; the harness ends it
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = s.home
	cmd.Env = append(os.Environ(), "HOME="+s.home, "XDG_DATA_HOME="+s.home, "XDG_CONFIG_HOME="+s.home)
	ownGroup(cmd)
	srv := &server{cmd: cmd, started: now(), log: name, ended: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	go func() { // ends with the process; stop and kill wait for it
		srv.err = cmd.Wait()
		close(srv.ended)
	}()
	return srv, nil
}

// ready waits until the site answers.
func (s *server) ready(ctx context.Context, c *client) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		var who struct{ Name string }
		if err := c.get(ctx, "/whoAmI/api/json", &who); err == nil {
			s.answered.Store(true)
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("the server ended while it started: %w", s.err)
		default:
		}
		if !pause(ctx, 10*time.Millisecond) {
			return errors.New("the server does not answer")
		}
	}
}

// kill ends the process at once.
func (s *server) kill(group bool) {
	s.dying.Store(true)
	if group {
		_ = killGroup(s.cmd.Process) // it may have ended already
	} else {
		_ = s.cmd.Process.Kill()
	}
	<-s.ended
}

// stop requests the process to end, and kills it if it takes longer than patience. It reports
// whether the process ended on request.
func (s *server) stop(patience time.Duration) bool {
	s.dying.Store(true)
	_ = terminate(s.cmd.Process)
	timer := time.NewTimer(patience) //nolint:forbidigo // the harness observes real processes
	defer timer.Stop()
	select {
	case <-s.ended:
		return true
	case <-timer.C:
		s.kill(false)
		return false
	}
}

// complaints returns the lines of the log that no life should have. excused reports whether
// an error may be logged at an instant; nil means never.
func (s *server) complaints(excused func(line string, at time.Time) bool) ([]string, error) {
	raw, err := os.ReadFile(s.log)
	if err != nil {
		return nil, fmt.Errorf("read the server's log: %w", err)
	}
	var found []string
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		ours := strings.Contains(line, `"level":"error"`) && strings.Contains(line, `"logger":"build_token`)
		// A poll queues nothing if the queue is full, or if it is stopped.
		ours = ours && !strings.Contains(line, "queue: full") && !strings.Contains(line, "buildtoken: shutting down")
		broke := strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") ||
			strings.Contains(line, "DATA RACE") || strings.Contains(line, "aborting with incomplete response") || strings.Contains(line, `"panic`)
		if ours && !broke && excused != nil {
			var at struct{ TS float64 }
			ours = json.Unmarshal([]byte(line), &at) != nil || !excused(line, time.UnixMilli(int64(at.TS*1000)))
		}
		if ours || broke {
			found = append(found, line)
		}
	}
	return found, lines.Err() //nolint:wrapcheck // a line too long says it all
}
