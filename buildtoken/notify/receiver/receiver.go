package receiver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// Config describes a receiver. Format and URL are required.
type Config struct {
	Format Format
	// URL is an absolute http or https URL, which may refer to parameters as {param.NAME}
	// behind its host; for Mail, an smtp or smtps URL.
	URL string
	// Secrets sign notifications of the format Standard: whsec_ and base64. With several, each
	// adds a signature.
	Secrets []string
	// Header has fields of the request, in the order in which they are set.
	Header []Field
	// Body is a template of package text/template over [notify.Event]; it takes the place of
	// the format's body. Empty means that of the format.
	Body string
	// Repository and Commit are where a commit status is set. They may refer to parameters.
	Repository, Commit string
	// Resolve replaces the placeholders in a text. It is called by New, and for each attempt.
	// Nil leaves texts as they are.
	Resolve func(text string) (string, error)
	// Transport is used instead of a new [http.Transport]; for tests.
	Transport http.RoundTripper
}

// Field is one header field.
type Field struct{ Name, Value string }

// Receiver sends notifications according to its configuration. Create one with [New].
type Receiver struct {
	config             Config
	format             format
	url                runner.Template
	repository, commit runner.Template
	body               *body // nil: that of the format
	client             *http.Client
}

// New checks a configuration, resolves its placeholders once to see whether that is
// possible, and returns the receiver. It contacts no other system.
func New(c Config) (*Receiver, error) {
	r, err := parse(c)
	if err != nil {
		return nil, err
	}
	if _, err := r.resolve(); err != nil {
		return nil, err
	}
	transport := c.Transport
	if transport == nil {
		transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 4,
		}
	}
	r.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	return r, nil
}

// Check checks as much of a configuration as is possible without its placeholders.
func Check(c Config) error {
	r, err := parse(c)
	if err != nil {
		return err
	}
	if !strings.Contains(strings.ReplaceAll(c.URL, "{param.", ""), "{") {
		_, err = r.resolveURL(func(text string) (string, error) { return text, nil })
	}
	return err
}

func parse(c Config) (*Receiver, error) {
	r := &Receiver{config: c}
	var known bool
	if r.format, known = formats()[c.Format.orDefault()]; !known {
		return nil, fmt.Errorf("format: %q is none of %s", c.Format, formatNames())
	}
	var err error
	if r.url, err = runner.ParseTemplate(c.URL); err != nil {
		return nil, errors.New("the URL: want {param.NAME} for a parameter") // without its text, which may be secret
	}
	if r.repository, err = runner.ParseTemplate(c.Repository); err != nil {
		return nil, fmt.Errorf("repository: %w", err)
	}
	if r.commit, err = runner.ParseTemplate(c.Commit); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	if err := r.checkUse(c); err != nil {
		return nil, err
	}
	contentType := r.format.contentType
	for _, f := range c.Header {
		if !isToken(f.Name) {
			return nil, fmt.Errorf("header: %q is no name of a header", f.Name)
		}
		if strings.Contains(f.Value, "{param.") {
			return nil, fmt.Errorf("header %s: a parameter can stand only in the URL, repository, commit and body", f.Name)
		}
		if strings.EqualFold(f.Name, "Content-Type") {
			contentType = f.Value
		}
	}
	if c.Body != "" {
		if r.body, err = parseBody(c.Body, contentType); err != nil {
			return nil, fmt.Errorf("body: %w", err)
		}
	}
	return r, nil
}

// checkUse refuses settings that the format does not use, and requires those that it needs.
func (r *Receiver) checkUse(c Config) error {
	name := c.Format.orDefault()
	switch {
	case c.URL == "":
		return errors.New("the URL is empty")
	case strings.HasPrefix(c.URL, "smtp") && name != Mail:
		return fmt.Errorf("the URL is one of a mail server; add: format %s", Mail)
	case len(c.Secrets) > 0 && name != Standard:
		return fmt.Errorf("secret: it signs notifications of the format %s only; credentials for %s stand in a header", Standard, name)
	case r.format.status && c.Repository == "":
		return fmt.Errorf("repository is missing: format %s sets the status of a commit in a repository", name)
	case r.format.status && c.Commit == "":
		return fmt.Errorf("commit is missing: format %s sets the status of a commit, such as {param.COMMIT}", name)
	case !r.format.status && (c.Repository != "" || c.Commit != ""):
		return fmt.Errorf("repository and commit are for the formats %s and %s only", GitHub, GitLab)
	case name == Mail && len(c.Header) > 0:
		return errors.New("header: a mail has no header fields of HTTP")
	case name == Mail && len(r.url.Params()) > 0:
		return errors.New("the URL: a parameter cannot decide about the mail server or who gets the mail")
	}
	return nil
}

// Params returns the names of the parameters in the URL, the repository and the commit,
// each once. Others can see these: servers log URLs.
func (r *Receiver) Params() []string {
	names := slices.Concat(r.url.Params(), r.repository.Params(), r.commit.Params())
	slices.Sort(names)
	return slices.Compact(names)
}

// UsesLog implements [notify.Receiver].
func (r *Receiver) UsesLog() bool {
	return r.format.log || r.body != nil && strings.Contains(r.config.Body, ".Log")
}

// Send implements [notify.Receiver].
func (r *Receiver) Send(ctx context.Context, e *notify.Event, late func() bool) notify.Outcome {
	s, err := r.resolve()
	if err != nil {
		return notify.Outcome{Error: err.Error()}
	}
	if r.config.Format == Mail {
		return r.sendMail(ctx, e, s, late)
	}
	req, err := r.request(ctx, e, s, time.Now())
	if err != nil {
		return notSendable(err)
	}
	askBefore(req, late)
	resp, err := r.client.Do(req)
	if err != nil {
		return notify.Outcome{Error: describe(ctx, err)}
	}
	defer func() { _ = resp.Body.Close() }() // only read
	return r.format.outcome(resp, time.Now())
}

var _ notify.Receiver = (*Receiver)(nil)
