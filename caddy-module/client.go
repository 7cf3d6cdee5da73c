package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// client speaks to a running server for the commands: over the admin API, or
// over HTTP with a token. Both have the same endpoints.
type client struct {
	http   *http.Client
	base   string // ends with a slash
	token  string // "" over the admin API
	origin string
	admin  bool
	// otherwise is what else the user can do if the admin API does not answer.
	otherwise string
}

// addServerFlags adds the flags by which [newClient] finds the server.
func addServerFlags(cmd *cobra.Command, overHTTP bool) {
	cmd.Flags().String("address", "", "The address of the admin API, if it is not the default (also unix//path)")
	cmd.Flags().StringP("config", "c", "", "A configuration file that says where the admin API is")
	cmd.Flags().StringP("adapter", "a", "", "The config adapter for that file")
	if overHTTP {
		cmd.Flags().String("url", "", "The URL of the site, to use HTTP and a token instead of the admin API")
		cmd.Flags().String("token-file", "", "A file with the token for --url (default: the variable BUILD_TOKEN)")
	}
}

// newClient finds the server by the flags.
func newClient(flags caddycmd.Flags) (*client, error) {
	if flags.Lookup("url") != nil && flags.String("url") != "" {
		return newHTTPClient(flags.String("url"), flags.String("token-file"))
	}
	address, err := caddycmd.DetermineAdminAPIAddress(flags.String("address"), nil, flags.String("config"), flags.String("adapter"))
	if err != nil {
		return nil, fmt.Errorf("find the admin API: %w", err)
	}
	at, err := caddy.ParseNetworkAddress(address)
	if err != nil || at.PortRangeSize() > 1 {
		return nil, fmt.Errorf("%q is no address of an admin API", address)
	}
	c := &client{admin: true, base: "http://127.0.0.1" + adminPath}
	network, dial := at.Network, at.JoinHostPort(0)
	if at.IsUnixNetwork() {
		dial, _, _ = strings.Cut(at.Host, "|") // the permissions of the socket
	} else {
		c.origin = "http://" + dial
		c.base = c.origin + adminPath
	}
	if flags.Lookup("url") != nil {
		c.otherwise = ", or use --url and a token"
	}
	c.http = &http.Client{CheckRedirect: noRedirect, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, dial)
	}}}
	return c, nil
}

func newHTTPClient(root, tokenFile string) (*client, error) {
	u, err := url.Parse(root)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		return nil, errors.New("--url: want an absolute http or https URL without a user")
	}
	c := &client{base: strings.TrimRight(u.Scheme+"://"+u.Host+u.EscapedPath(), "/") + "/", token: os.Getenv("BUILD_TOKEN")}
	if tokenFile != "" {
		text, err := os.ReadFile(tokenFile) //nolint:gosec // the user names the file
		if err != nil {
			return nil, fmt.Errorf("read the token: %w", err)
		}
		c.token = strings.TrimRight(string(text), "\r\n")
	}
	if c.token == "" {
		return nil, errors.New("no token: set BUILD_TOKEN, or name a file with --token-file")
	}
	c.http = &http.Client{CheckRedirect: noRedirect}
	return c, nil
}

// noRedirect keeps the token at its server, and the answer to a trigger that
// joined an item, which is 303.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// refusedError is an answer of the server that is an error.
type refusedError struct {
	status int
	text   string
}

// Error returns the server's text.
func (e *refusedError) Error() string { return fmt.Sprintf("%s (%d)", e.text, e.status) }

// errUnreachable is wrapped by the errors of a server that does not answer.
var errUnreachable = errors.New("no answer from the server")

// errCutOff is wrapped by the errors of an answer that has begun, and broke off.
var errCutOff = fmt.Errorf("%w: the answer broke off", errUnreachable)

// do sends a request. An answer of 400 or more is a [*refusedError]. The caller
// closes the body.
func (c *client) do(ctx context.Context, method, path string, query url.Values, body io.Reader, header http.Header) (*http.Response, error) {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	r.Header.Set("Accept", "application/json")
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.origin != "" {
		r.Header.Set("Origin", c.origin)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	resp, err := c.http.Do(r)
	if err != nil {
		hint := ""
		if c.admin {
			hint = "; is Caddy running, and not with `admin off`? Name the admin API with --address or --config" + c.otherwise
		}
		return nil, fmt.Errorf("%w: %w%s", errUnreachable, err, hint)
	}
	if resp.StatusCode < http.StatusBadRequest && resp.StatusCode != http.StatusMovedPermanently && resp.StatusCode != http.StatusPermanentRedirect {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }() // only read
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var answer struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &answer) == nil && answer.Error != "" {
		return nil, &refusedError{resp.StatusCode, answer.Error}
	}
	if location := resp.Header.Get("Location"); location != "" {
		return nil, &refusedError{resp.StatusCode, "the server redirects to " + location + "; use that with --url"}
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if line == "" || strings.HasPrefix(line, "<") {
		line = http.StatusText(resp.StatusCode)
	}
	return nil, &refusedError{resp.StatusCode, line}
}

// itemStatus is the answer of the endpoint status.
type itemStatus struct {
	Item     int64   `json:"item"`
	Job      string  `json:"job"`
	State    string  `json:"state"`
	Why      *string `json:"why,omitempty"`
	Due      string  `json:"due,omitempty"`
	Position *int    `json:"position,omitempty"`
	Build    *int64  `json:"build,omitempty"`
	Result   *string `json:"result,omitempty"`
}

// ended reports whether nothing more will happen to the item.
func (s *itemStatus) ended() bool { return s.State == "ended" || s.State == "cancelled" }

func (c *client) status(ctx context.Context, job string, item int64) (*itemStatus, error) {
	resp, err := c.do(ctx, http.MethodGet, "buildByToken/status", c.of(job, item), nil, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // only read
	s := new(itemStatus)
	if err := json.NewDecoder(resp.Body).Decode(s); err != nil {
		return nil, fmt.Errorf("%w: read the status: %w", errUnreachable, err)
	}
	return s, nil
}

func (c *client) cancel(ctx context.Context, job string, item int64) error {
	resp, err := c.do(ctx, http.MethodPost, "buildByToken/cancel", c.of(job, item), nil, nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func (*client) of(job string, item int64) url.Values {
	return url.Values{"job": {job}, "item": {fmt.Sprint(item)}}
}

// How long a command goes on to ask a server that does not answer: longer for one
// that has answered before, and may be restarting.
const (
	shortPatience = 3 * time.Second
	patience      = 2 * time.Minute
)

// retry calls try until it succeeds, its error is not a server that is away for
// the moment, or there was no answer for longer than patience.
func retry(ctx context.Context, patience time.Duration, try func() error) error {
	began, pause := time.Now(), 100*time.Millisecond
	for {
		at := time.Now()
		err := try()
		// A log can be silent for hours. If it breaks off then, the server was there until now. If it
		// breaks off at once, it is not.
		if errors.Is(err, errCutOff) && time.Since(at) > pause {
			began, pause = time.Now(), 100*time.Millisecond
		}
		refused, isRefusal := errors.AsType[*refusedError](err)
		away := errors.Is(err, errUnreachable) || isRefusal && refused.status >= http.StatusInternalServerError
		if err == nil || !away || time.Since(began) > patience {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		pause = min(2*pause, 2*time.Second)
	}
}

// follow writes the log of an item as it comes, from its beginning to its end,
// and returns how it ended. It goes on where it was after a reload or a restart
// of the server.
func (c *client) follow(ctx context.Context, job string, item int64, to io.Writer) (*itemStatus, error) {
	var offset int64
	for {
		err := retry(ctx, patience, func() error {
			query := c.of(job, item)
			query.Set("start", fmt.Sprint(offset))
			resp, err := c.do(ctx, http.MethodGet, "buildByToken/log", query, nil, http.Header{"Accept": {"text/plain"}})
			if err != nil {
				return err
			}
			defer func() { _ = resp.Body.Close() }() // only read
			n, err := io.Copy(to, resp.Body)
			offset += n
			if err != nil && n == 0 {
				return fmt.Errorf("%w: %w", errCutOff, err)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		var s *itemStatus
		err = retry(ctx, patience, func() (err error) {
			s, err = c.status(ctx, job, item)
			return err
		})
		if err != nil || s.ended() {
			return s, err
		}
		if s.Build == nil {
			offset = 0 // the queue was set back and has lost the build; the log of the next one follows
		}
	}
}

// wait returns the status of an item once it has ended, or once ctx is done.
func (c *client) wait(ctx context.Context, job string, item int64) (*itemStatus, error) {
	for {
		var s *itemStatus
		err := retry(ctx, patience, func() (err error) {
			s, err = c.status(ctx, job, item)
			return err
		})
		if err != nil || s.ended() {
			return s, err
		}
		select {
		case <-ctx.Done():
			return s, context.Cause(ctx)
		case <-time.After(500 * time.Millisecond):
		}
	}
}
