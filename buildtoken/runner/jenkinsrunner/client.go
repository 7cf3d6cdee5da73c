package jenkinsrunner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

const (
	// askTimeout bounds a request about a build.
	askTimeout = time.Minute
	// logTimeout bounds a request for a part of a log.
	logTimeout = 10 * time.Minute
	// maxJSON bounds what is read of a JSON answer, in bytes.
	maxJSON = 16 << 20
)

// client sends requests to one Jenkins. It knows the account, and shows it to no other host.
type client struct {
	base      string // root URL without a slash at its end
	authorize func(*http.Request)
	// keep repeats requests and keeps connections; once does neither.
	keep, once *http.Client
}

func newClient(c Config) (*client, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return nil, errors.New("the URL is malformed") // without its text, which may hold a password
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New("the URL must begin with http:// or https:// and a host")
	case u.User != nil:
		return nil, errors.New("the URL must not have a user; use user and its API token")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the URL must have no query and no fragment")
	case c.User == "" && c.APIToken != "" || c.User != "" && c.APIToken == "":
		return nil, errors.New("user needs a name and an API token")
	case strings.Contains(c.User, ":"):
		return nil, errors.New("the name of the user must not have a colon")
	}
	transport := c.Transport
	if transport == nil {
		transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 15 * time.Second,
			ResponseHeaderTimeout: askTimeout, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 16,
		}
	}
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	fresh := transport.Clone()
	// A new connection for each trigger: net/http repeats requests that fail on a connection that was used before.
	fresh.DisableKeepAlives, fresh.ResponseHeaderTimeout = true, 0
	direct := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{
		base: strings.TrimRight(c.URL, "/"),
		authorize: func(r *http.Request) {
			if c.User != "" {
				r.SetBasicAuth(c.User, c.APIToken)
			}
		},
		keep: &http.Client{Transport: transport, CheckRedirect: direct},
		once: &http.Client{Transport: fresh, CheckRedirect: direct},
	}, nil
}

// close closes the idle connections. The client for triggers keeps none.
func (c *client) close() { c.keep.CloseIdleConnections() }

// jobPath returns the path of a job, as /job/folder/job/name.
func jobPath(full string) (string, error) {
	var path strings.Builder
	for name := range strings.SplitSeq(strings.Trim(full, "/"), "/") {
		if name == "" || name == "." || name == ".." || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return "", fmt.Errorf("bad job %q: want its full name, as in folder/job", full)
		}
		path.WriteString("/job/" + url.PathEscape(name))
	}
	return path.String(), nil
}

// statusError is an answer of Jenkins, or of a proxy, that is no success.
type statusError struct {
	status     int
	permission string // what the account needs
	noCrumb    bool
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("the answer is %d %s", e.status, http.StatusText(e.status))
	switch {
	case e.noCrumb:
		text += ": this is a password and not an API token"
	case e.status == http.StatusUnauthorized:
		text += ": the user or its API token is wrong"
	case e.permission != "":
		text += ": it needs the permission " + e.permission
	case e.status/100 == 3:
		text += ": redirects are not followed; is there a login page in front of Jenkins?"
	}
	return text
}

// errNotJenkins is an answer with a success that does not come from Jenkins.
var errNotJenkins = errors.New("the answer does not come from Jenkins; is there a login page in front of it?")

// status returns the status of the answer that err describes, 0 if it does not.
func status(err error) int {
	if e, ok := errors.AsType[*statusError](err); ok {
		return e.status
	}
	return 0
}

// refusal returns the error of an answer without success. Only known fields of the body are used.
func refusal(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return &statusError{
		status: resp.StatusCode, permission: queue.OneLine(resp.Header.Get("X-Required-Permission"), 200),
		noCrumb: resp.StatusCode == http.StatusForbidden && strings.Contains(string(body), "No valid crumb"),
	}
}

// withoutURL removes the URL from an error of net/http.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// get reads an object of the API. tree names its fields.
func (c *client) get(ctx context.Context, path, tree string, into any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, fmt.Errorf("no answer within %v", askTimeout))
	defer cancel()
	resp, err := c.do(ctx, c.keep, http.MethodGet, path+"/api/json?tree="+url.QueryEscape(tree))
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if resp.StatusCode != http.StatusOK {
		return refusal(resp)
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind != "application/json" || resp.Header.Get("X-Jenkins") == "" {
		return errNotJenkins
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxJSON)).Decode(into); err != nil {
		return fmt.Errorf("the answer cannot be read: %w", err)
	}
	return nil
}

// post sends a request that can be repeated safely, and returns nil after a success or a redirect.
func (c *client) post(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, fmt.Errorf("no answer within %v", askTimeout))
	defer cancel()
	resp, err := c.do(ctx, c.once, http.MethodPost, path)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if resp.StatusCode/100 != 2 && resp.StatusCode != http.StatusFound {
		return refusal(resp)
	}
	return nil
}

// do sends a request without a body. The caller must close the body of the answer.
func (c *client) do(ctx context.Context, by *http.Client, method, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, nil)
	if err != nil {
		return nil, errors.New("the URL is malformed")
	}
	c.authorize(req)
	resp, err := by.Do(req)
	return resp, withoutURL(err)
}
