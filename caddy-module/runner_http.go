package caddymodule

import (
	"context"
	"io"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/runner/httprunner"
)

func init() {
	caddy.RegisterModule(new(HTTPRunner))
}

// HTTPRunner sends one HTTP request as the build, and can follow what the request started. A 2xx answer is SUCCESS.
// Redirects are not followed.
//
// In the URLs, the header fields and the body, placeholders like `{env.NAME}` are replaced once, when the configuration
// is loaded. `{param.NAME}` becomes the value of a parameter, escaped for its place: percent-escaped in URLs and forms,
// JSON-escaped in JSON bodies.
type HTTPRunner struct {
	// The method of the request.
	Method string `json:"method"`

	// An absolute URL. The host must not depend on a parameter.
	URL string `json:"url"`

	// The header fields, in their order.
	Header []HeaderField `json:"header,omitempty"`

	// The body. Without a `Content-Type` field it is JSON if it begins with a brace or bracket, else a form.
	Body string `json:"body,omitempty"`

	// How to wait for the end of what the request started. Default: the answer is the end.
	Follow *HTTPFollow `json:"follow,omitempty"`

	runner *httprunner.Runner
}

// HeaderField is one field of a request's header.
type HeaderField struct {
	// Its name.
	Name string `json:"name"`

	// Its value.
	Value string `json:"value"`
}

// HTTPFollow requests the state of a build from another system until it has ended.
type HTTPFollow struct {
	// The URL to GET. It can refer to fields of the first answer, as in `{response.id}`.
	URL string `json:"url"`

	// A CEL expression over `status` and `body` that is true when the build has ended.
	Done string `json:"done"`

	// A CEL expression over `status` and `body`: a bool, or `SUCCESS`, `UNSTABLE`, `FAILURE` or `ABORTED`. Default: a 2xx
	// status is SUCCESS.
	Result string `json:"result,omitempty"`

	// The time between two requests. Default: 5s.
	Every caddy.Duration `json:"every,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*HTTPRunner) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "build_token.runners.http",
		New: func() caddy.Module { return new(HTTPRunner) },
	}
}

// UnmarshalCaddyfile reads the request. Syntax:
//
//	runner http <method> <url> {
//		header <name> <value>          # repeatable
//		body   <text>
//		follow <url> {
//			done   <cel>
//			result <cel>
//			every  <duration>
//		}
//	}
func (h *HTTPRunner) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	args, err := arguments(d, "runner http", 2, 2)
	if err != nil {
		return err
	}
	h.Method, h.URL = args[0], args[1]
	seen := once{}
	return block(d, func(name string) error {
		if err := seen.check(d, name, "body", "follow"); err != nil {
			return err
		}
		switch name {
		case "header":
			field, err := arguments(d, name, 2, 2)
			if err == nil {
				h.Header = append(h.Header, HeaderField{field[0], field[1]})
			}
			return err
		case "body":
			return parser{d: d}.text(&h.Body, name)
		case "follow":
			h.Follow = new(HTTPFollow)
			return h.Follow.unmarshal(d)
		}
		return unknown(d, name, "runner http")
	})
}

func (f *HTTPFollow) unmarshal(d *caddyfile.Dispenser) error {
	p := parser{d: d}
	if err := p.text(&f.URL, "follow"); err != nil {
		return err
	}
	seen := once{}
	return block(d, func(name string) (err error) {
		if err := seen.check(d, name, "done", "result", "every"); err != nil {
			return err
		}
		switch name {
		case "done":
			return p.followExpression(&f.Done, name)
		case "result":
			return p.followExpression(&f.Result, name)
		case "every":
			f.Every, err = p.duration(name)
			if err == nil && f.Every < caddy.Duration(time.Second) {
				err = d.Errf("every: at least 1s")
			}
			return err
		}
		return unknown(d, name, "follow")
	})
}

// followExpression reads an expression, in which Caddy must not have replaced a shorthand.
func (p parser) followExpression(to *string, name string) error {
	if err := p.text(to, name); err != nil {
		return err
	}
	if found := replacedShorthand.FindString(*to); found != "" {
		return p.d.Errf("%s: an expression has no placeholders such as %s; it sees status and body", name, found)
	}
	return nil
}

// Provision checks the request. It sends nothing.
func (h *HTTPRunner) Provision(caddy.Context) error {
	texts := []string{h.URL, h.Body}
	for _, f := range h.Header {
		texts = append(texts, f.Value)
	}
	if h.Follow != nil {
		texts = append(texts, h.Follow.URL)
	}
	replaced, err := replaceAll(texts)
	if err != nil {
		return err
	}
	config := httprunner.Config{Method: h.Method, URL: replaced[0], Body: replaced[1]}
	for i, f := range h.Header {
		config.Header = append(config.Header, httprunner.Field{Name: f.Name, Value: replaced[2+i]})
	}
	if f := h.Follow; f != nil {
		config.Follow = &httprunner.Follow{URL: replaced[len(replaced)-1], Done: f.Done, Result: f.Result, Every: time.Duration(f.Every)}
	}
	h.runner, err = httprunner.New(config)
	return err
}

// Params returns the parameters that the URLs refer to.
func (h *HTTPRunner) Params() []string { return h.runner.Params() }

// HiddenParams returns the parameters that the header and the body refer to.
func (h *HTTPRunner) HiddenParams() []string { return h.runner.HiddenParams() }

// Fits implements [runner.Sizer].
func (h *HTTPRunner) Fits(env []string, params []runner.Param) error {
	return h.runner.Fits(env, params)
}

// Run implements [runner.Runner].
func (h *HTTPRunner) Run(ctx context.Context, b runner.Build, log io.Writer) runner.Result {
	return h.runner.Run(ctx, b, log)
}

// Remote implements [runner.Remote].
func (*HTTPRunner) Remote() {}

var (
	_ caddy.Provisioner     = (*HTTPRunner)(nil)
	_ caddyfile.Unmarshaler = (*HTTPRunner)(nil)
	_ runner.Remote         = (*HTTPRunner)(nil)
	_ runner.Sizer          = (*HTTPRunner)(nil)
)
