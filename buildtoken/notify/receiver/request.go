package receiver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/hook"
	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// errSkip is wrapped by errors that mean that there is nothing to send.
var errSkip = errors.New("nothing to send")

// settings are the resolved settings of one attempt.
type settings struct {
	target             runner.Target
	user               *url.Userinfo
	mail               *mailServer
	header             []Field
	secrets            []token.SigningSecret
	repository, commit runner.Template
}

// resolve replaces the placeholders. Its errors name the setting and show nothing of it.
func (r *Receiver) resolve() (settings, error) {
	var s settings
	resolve := r.config.Resolve
	if resolve == nil {
		resolve = func(text string) (string, error) { return text, nil }
	}
	trimmed := func(text string) (string, error) {
		text, err := resolve(text)
		return strings.TrimRight(text, "\r\n"), err // the end of a file
	}
	var err error
	if s, err = r.resolveURL(trimmed); err != nil {
		return s, err
	}
	for _, f := range r.config.Header {
		value, err := trimmed(f.Value)
		if err != nil {
			return s, fmt.Errorf("header %s: %w", f.Name, err)
		}
		if !isFieldValue(value) {
			return s, fmt.Errorf("header %s: the value holds a control character", f.Name)
		}
		s.header = append(s.header, Field{f.Name, value})
	}
	for i, text := range r.config.Secrets {
		text, err := trimmed(text)
		if err != nil {
			return s, fmt.Errorf("secret %d: %w", i+1, err)
		}
		secret, err := hook.ParseSecret(event.Standard, text)
		if err != nil {
			return s, fmt.Errorf("secret %d: %s", i+1, strings.TrimPrefix(err.Error(), hook.ErrConfig.Error()+": "))
		}
		s.secrets = append(s.secrets, secret.Signing())
	}
	if s.repository, err = r.repository.Resolve(trimmed); err != nil {
		return s, fmt.Errorf("repository: %w", err)
	}
	if s.commit, err = r.commit.Resolve(trimmed); err != nil {
		return s, fmt.Errorf("commit: %w", err)
	}
	return s, nil
}

// userinfo matches the user and the password of a URL, in which placeholders may stand.
var userinfo = regexp.MustCompile(`^([a-z]+://)((?:[^/?#@{]|\{[^{}]*\})*)@`)

// resolveURL resolves the URL. What a placeholder between "//" and "@" stands for is taken
// as it is, so that a password needs no escapes.
func (r *Receiver) resolveURL(resolve func(string) (string, error)) (s settings, err error) {
	text := r.config.URL
	if at := userinfo.FindStringSubmatchIndex(text); at != nil {
		name, password, has := strings.Cut(text[at[4]:at[5]], ":")
		if name, err = resolvePart(name, resolve); err == nil {
			password, err = resolvePart(password, resolve)
		}
		if err != nil {
			return s, fmt.Errorf("the URL: %w", err)
		}
		s.user = url.User(name)
		if has {
			s.user = url.UserPassword(name, password)
		}
		text = text[at[2]:at[3]] + text[at[1]:]
	}
	if r.config.Format == Mail {
		if text, err = resolve(text); err == nil {
			s.mail, err = parseMail(text, s.user)
		}
		if err != nil {
			err = fmt.Errorf("the URL: %w", err)
		}
		return s, err
	}
	t, err := runner.ParseTemplate(text)
	if err != nil {
		return s, errors.New("the URL: want {param.NAME} for a parameter")
	}
	if t, err = t.Resolve(resolve); err != nil {
		return s, fmt.Errorf("the URL: %w", err)
	}
	s.target, err = runner.NewTarget(t)
	return s, err
}

// resolvePart resolves a user or a password. Without a placeholder it may have escapes.
func resolvePart(text string, resolve func(string) (string, error)) (string, error) {
	resolved, err := resolve(text)
	if err != nil || resolved != text {
		return resolved, err
	}
	if unescaped, err := url.PathUnescape(text); err == nil {
		return unescaped, nil
	}
	return "", errors.New("the user or the password has a bad escape")
}

// request returns the request for an event. It depends on nothing but its arguments.
func (r *Receiver) request(ctx context.Context, e *notify.Event, s settings, now time.Time) (*http.Request, error) {
	params := make([]runner.Param, len(e.Params))
	for i, p := range e.Params {
		params[i] = runner.Param{Name: p.Name, Value: p.Value}
	}
	u, err := s.target.Expand(params)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSkip, err)
	}
	if r.format.path != nil {
		if u, err = s.below(u, r.format.path, params); err != nil {
			return nil, err
		}
	}
	if s.user != nil {
		u.User = s.user
	}
	text, fields := r.format.body(e)
	if r.body != nil {
		if text, err = r.body.execute(e); err != nil {
			return nil, fmt.Errorf("body: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(text))
	if err != nil {
		return nil, errors.New("the URL is malformed")
	}
	req.Header.Set("User-Agent", "buildtoken")
	req.Header.Set("Content-Type", r.format.contentType)
	for _, f := range fields {
		req.Header.Set(f.Name, f.Value)
	}
	for _, f := range s.header {
		if strings.EqualFold(f.Name, "Host") {
			req.Host = f.Value
		}
		req.Header.Set(f.Name, f.Value)
	}
	if r.config.Format.orDefault() == Standard {
		sign(req.Header, e.ID, text, s.secrets, now)
	}
	return req, nil
}

// errLate is the error of a request that is not sent because it would be too late.
var errLate = errors.New("it is too late to send it")

// askBefore makes a request fail if late returns true when its body is about to be sent. A
// request whose body is missing is never accepted. Other requests over the same connection, which
// HTTP/2 has, are left alone.
func askBefore(req *http.Request, late func() bool) {
	if req.ContentLength == 0 {
		return // a body of another type would be sent in chunks
	}
	body := req.GetBody
	req.Body = &asking{req.Body, late}
	req.GetBody = func() (io.ReadCloser, error) { // for another connection
		b, err := body()
		return &asking{b, late}, err
	}
}

// asking is a body that asks before it is first read whether it is too late.
type asking struct {
	io.ReadCloser
	late func() bool // nil: it was not
}

// Read implements [io.Reader].
func (a *asking) Read(p []byte) (int, error) {
	if a.late != nil && a.late() {
		return 0, errLate
	}
	a.late = nil
	return a.ReadCloser.Read(p)
}

// below returns the URL with the path of a format, for the repository and commit of an event.
func (s settings) below(u *url.URL, path func(repository, commit string) (string, error), params []runner.Param) (*url.URL, error) {
	repository, err := s.repository.Expand(params, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: repository: %w", errSkip, err)
	}
	commit, err := s.commit.Expand(params, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: commit: %w", errSkip, err)
	}
	suffix, err := path(strings.TrimSpace(repository), strings.TrimSpace(commit))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSkip, err)
	}
	at := *u
	at.RawPath = strings.TrimRight(u.EscapedPath(), "/") + suffix
	if at.Path, err = url.PathUnescape(at.RawPath); err != nil {
		return nil, errors.New("the URL is malformed")
	}
	return &at, nil
}

// isToken reports whether s can be the name of a header field.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, c)
	})
}

// isFieldValue reports whether s can be the value of a header field.
func isFieldValue(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}
