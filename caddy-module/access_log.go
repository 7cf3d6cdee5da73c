package caddymodule

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// accessLog keeps secrets out of Caddy's access log. Caddy copies the request before any
// handler runs, so its entry cannot be changed. It can only be suppressed and replaced
// by an entry of the same form.
//
// Fields that a handler added with log_append are missing in that entry, because Caddy
// has no function to read them.
type accessLog struct {
	base *zap.Logger // named http.log.access
}

// newAccessLog is called while provisioning.
func newAccessLog(ctx caddy.Context) accessLog {
	// A logger is named after the module it belongs to; that of App is http.
	return accessLog{base: ctx.Logger(caddyhttp.App{}).Named("log.access")}
}

// serve calls handle and returns its result. If handle answered the request and Caddy's
// own entry could contain a secret, serve replaces the entry.
func (a accessLog) serve(w http.ResponseWriter, r *http.Request, handle func(http.ResponseWriter, *http.Request) bool) (handled bool) {
	srv, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if srv == nil || !logs(srv.Logs, r) {
		return handle(w, r)
	}
	shown, secret := withoutSecrets(r)
	// A token in a form is not in the log, but the answer can have a share link.
	if !secret && r.Method != http.MethodPost {
		return handle(w, r)
	}
	body := &countedBody{ReadCloser: r.Body}
	if r.Body != nil {
		r.Body = body
	}
	entry := &accessEntry{
		log: a.base, logs: srv.Logs, request: shown, original: r, body: body,
		started: time.Now(), recorder: caddyhttp.NewResponseRecorder(w, nil, nil),
		ours: secret, // also if it panics
	}
	defer entry.write(r.Context())
	handled = handle(entry.recorder, r)
	_, sharing := responseWithoutSecrets(entry.recorder.Header())
	entry.ours = handled && (secret || sharing)
	return handled
}

// accessEntry collects what the log entry of one request needs.
type accessEntry struct {
	log      *zap.Logger
	logs     *caddyhttp.ServerLogConfig
	request  *http.Request // without secrets
	original *http.Request
	body     *countedBody
	started  time.Time
	recorder caddyhttp.ResponseRecorder
	ours     bool // whether to replace Caddy's entry
}

// write suppresses Caddy's own entry and writes ours, unless the entry was
// suppressed already.
func (e *accessEntry) write(ctx context.Context) {
	if !e.ours {
		return
	}
	if skip, _ := caddyhttp.GetVar(ctx, caddyhttp.LogSkipVar).(bool); skip {
		return
	}
	caddyhttp.SetVar(ctx, caddyhttp.LogSkipVar, true)
	level := zapcore.InfoLevel
	if e.recorder.Status() >= http.StatusInternalServerError {
		level = zapcore.ErrorLevel
	}
	if name, ok := caddyhttp.GetVar(ctx, caddyhttp.LogLevelVar).(string); ok {
		if wanted, err := zapcore.ParseLevel(name); err == nil && wanted >= zapcore.DebugLevel && wanted <= zapcore.ErrorLevel {
			level = wanted
		}
	}
	for _, name := range loggerNames(e.logs, e.original) {
		log := e.log
		if name != "" {
			log = log.Named(name)
		}
		if checked := log.Check(level, "handled request"); checked != nil {
			checked.Write(e.fields()...)
		}
	}
}

// fields are those of Caddy's entry, in its order.
func (e *accessEntry) fields() []zap.Field {
	credentials := e.logs.ShouldLogCredentials
	headers, _ := responseWithoutSecrets(e.recorder.Header())
	return []zap.Field{
		zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: e.request, ShouldLogCredentials: credentials}),
		zap.Int("bytes_read", e.body.read),
		zap.String("user_id", userOf(e.original)),
		zap.Duration("duration", time.Since(e.started)),
		zap.Int("size", e.recorder.Size()),
		zap.Int("status", e.recorder.Status()),
		zap.Object("resp_headers", caddyhttp.LoggableHTTPHeader{Header: headers, ShouldLogCredentials: credentials}),
	}
}

// countedBody counts what is read of a request's body.
type countedBody struct {
	io.ReadCloser
	read int // bytes
}

// Read implements [io.Reader].
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read += n
	return n, err
}

// logs reports whether Caddy logs requests for this host.
func logs(config *caddyhttp.ServerLogConfig, r *http.Request) bool {
	if config == nil {
		return false
	}
	host := hostOf(r)
	for name := range config.LoggerNames {
		if matchesHost(host, name) {
			return true
		}
	}
	if slices.ContainsFunc(config.SkipHosts, func(skipped string) bool { return matchesHost(host, skipped) }) {
		return false
	}
	return !config.SkipUnmappedHosts
}

// loggerNames returns the names of the loggers for a request: those set by log_name,
// otherwise those of the host. "" is the default access log.
func loggerNames(config *caddyhttp.ServerLogConfig, r *http.Request) []string {
	if given, ok := caddyhttp.GetVar(r.Context(), caddyhttp.AccessLoggerNameVarKey).([]any); ok {
		names := make([]string, 0, len(given))
		for _, name := range given {
			text, _ := name.(string)
			names = append(names, text)
		}
		return names
	}
	host := hostOf(r)
	if names, ok := config.LoggerNames[host]; ok {
		return names
	}
	labels := strings.Split(host, ".")
	for i := range labels {
		if labels[i] == "" {
			continue
		}
		labels[i] = "*" // from the left, as in Caddy
		if names, ok := config.LoggerNames[strings.Join(labels, ".")]; ok {
			return names
		}
	}
	return []string{config.DefaultLoggerName}
}

func hostOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	return strings.ToLower(host)
}

// matchesHost reports whether a host matches a name in which the leftmost labels may
// be *.
func matchesHost(host, name string) bool {
	name = strings.ToLower(name)
	if host == name {
		return true
	}
	labels := strings.Split(host, ".")
	for i := range labels {
		if labels[i] == "" {
			continue
		}
		labels[i] = "*"
		if strings.Join(labels, ".") == name {
			return true
		}
	}
	return false
}
