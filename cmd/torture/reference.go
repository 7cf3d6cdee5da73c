package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
)

// reference verifies signatures with the reference library of Standard Webhooks, in a process
// of node. Its methods are safe for concurrent use.
type reference struct {
	cmd *exec.Cmd

	// mu guards the following.
	mu       sync.Mutex
	in       io.WriteCloser
	out      *bufio.Reader
	verified int
}

// startReference starts the script testdata/clients/npm/verify.mjs. It fails if the library is
// not installed, or accepts a wrong signature.
func startReference(script string) (*reference, error) {
	cmd := exec.Command("node", script) //nolint:gosec,noctx // the operator names the script; close ends it
	cmd.Stderr = os.Stderr
	ownGroup(cmd)
	in, err := cmd.StdinPipe() // the process ends with its input, however the harness ends
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the reference library: %w", err)
	}
	r := &reference{cmd: cmd, in: in, out: bufio.NewReader(out)}
	wrong := http.Header{}
	wrong.Set("Webhook-Id", "msg_1")
	wrong.Set("Webhook-Timestamp", strconv.FormatInt(now().Unix(), 10))
	wrong.Set("Webhook-Signature", "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	if err = r.verify(wrong, []byte("{}")); errors.Is(err, errSignature) {
		return r, nil
	}
	r.close()
	if err == nil {
		err = errors.New("the reference library accepts a wrong signature")
	}
	return nil, err
}

// errSignature is wrapped by the error for a signature that the library refuses.
var errSignature = errors.New("the reference library refuses it")

// verify returns an error if the library does not accept the signature.
func (r *reference) verify(header http.Header, body []byte) error {
	names := map[string]string{}
	for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
		names[name] = header.Get(name)
	}
	line, err := json.Marshal(map[string]any{"secret": receiverSecret, "headers": names, "body": string(body)})
	if err != nil {
		return fmt.Errorf("ask the reference library: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.in.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("ask the reference library: %w", err)
	}
	answer, err := r.out.ReadString('\n')
	switch {
	case err != nil:
		return fmt.Errorf("the reference library does not answer; is it installed? %w", err)
	case answer != "ok\n":
		return fmt.Errorf("%w: %s", errSignature, strings.TrimSpace(answer))
	}
	r.verified++
	return nil
}

// close ends the process.
func (r *reference) close() {
	_ = r.cmd.Process.Kill() // it may have ended
	_ = r.cmd.Wait()         // it was killed
}

// count returns how many signatures the library has accepted.
func (r *reference) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.verified
}
