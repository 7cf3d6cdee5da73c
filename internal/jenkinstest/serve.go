package jenkinstest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ServeHTTP answers as Jenkins does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	intercept := s.faults.Intercept
	s.mu.Unlock()
	if intercept != nil && intercept(w, r) {
		return
	}
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), s.opts.Prefix+"/")
	switch {
	case !ok:
		page(w, http.StatusNotFound, "not found")
	case strings.Contains(path, "//"):
		page(w, http.StatusBadRequest, "ambiguous path")
	default:
		s.route(w, r, strings.Split(strings.TrimSuffix(path, "/"), "/"))
	}
}

// page answers with HTML, as Jenkins does with everything that is not an object of its API.
func page(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	w.Header().Set("X-Jenkins", Version)
	w.WriteHeader(status)
	fmt.Fprintf(w, "<html><body>%s</body></html>", text)
}

func (s *Server) route(w http.ResponseWriter, r *http.Request, path []string) {
	known := s.authenticated(r)
	if path[0] == "queue" {
		if !known {
			page(w, http.StatusForbidden, "Authentication required")
			return
		}
		s.serveQueue(w, r, path[1:])
		return
	}
	var names []string
	for len(path) >= 2 && path[0] == "job" {
		names, path = append(names, unescape(path[1])), path[2:]
	}
	s.mu.Lock()
	j := s.jobs[strings.Join(names, "/")]
	s.mu.Unlock()
	trigger := len(path) == 1 && (path[0] == "build" || path[0] == "buildWithParameters")
	switch {
	case j == nil:
		page(w, http.StatusNotFound, "not found")
	case trigger:
		s.serveTrigger(w, r, j, path[0], known)
	case !known:
		page(w, http.StatusForbidden, "Authentication required")
	case strings.Join(path, "/") == "api/json":
		s.mu.Lock()
		answer := s.describeJob(j)
		s.mu.Unlock()
		object(w, answer)
	case len(path) >= 2:
		s.serveBuild(w, r, j, path)
	default:
		page(w, http.StatusOK, "a page")
	}
}

// authenticated reports whether the request is that of the account. A wrong password counts as no account.
func (s *Server) authenticated(r *http.Request) bool {
	user, password, _ := r.BasicAuth()
	return s.opts.User == "" || user == s.opts.User && password == s.opts.APIToken
}

func (s *Server) serveTrigger(w http.ResponseWriter, r *http.Request, j *job, action string, known bool) {
	body, _ := io.ReadAll(r.Body)
	if err := parseForm(r, body); err != nil {
		page(w, http.StatusBadRequest, "malformed form")
		return
	}
	token := r.Form.Get("token")
	withToken := j.Token != "" && token == j.Token
	delay, delayErr := parseDelay(r.Form.Get("delay"), j.QuietPeriod)
	switch {
	case delayErr != nil:
		page(w, http.StatusInternalServerError, "Oops")
		return
	case j.Disabled:
		page(w, http.StatusConflict, j.Name+" is not buildable")
		return
	case token != "" && !withToken && j.Token != "", !withToken && !known:
		w.Header().Set("X-Required-Permission", "hudson.model.Item.Build")
		page(w, http.StatusForbidden, "Authentication required")
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", "POST")
		page(w, http.StatusMethodNotAllowed, "This URL requires POST")
		return
	case action == "build" && j.parameterized():
		page(w, http.StatusBadRequest, "Nothing is submitted")
		return
	case action == "buildWithParameters" && !j.parameterized():
		page(w, http.StatusBadRequest, j.Name+" is not parameterized")
		return
	}
	cause := Cause{Description: "Started by user " + s.opts.User}
	if withToken {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		cause = Cause{"Started by remote host " + host + " with note: " + r.Form.Get("cause"), r.Form.Get("cause")}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults.ResetBeforeTrigger > 0 {
		s.faults.ResetBeforeTrigger--
		reset(w)
		return
	}
	it, created := s.schedule(j, values(j, r), uploads(j, r), cause, delay)
	if s.faults.ResetAfterTrigger > 0 {
		s.faults.ResetAfterTrigger--
		reset(w)
		return
	}
	w.Header().Set("Location", fmt.Sprintf("http://%s%s/queue/item/%d/", r.Host, s.opts.Prefix, it.id))
	status := http.StatusCreated
	if !created && action == "buildWithParameters" {
		status = http.StatusSeeOther
	}
	w.WriteHeader(status)
}

// reset breaks the connection.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // the client sees a reset instead of an end
	}
	_ = conn.Close()
}

func parseDelay(text string, quiet time.Duration) (time.Duration, error) {
	if text == "" {
		return quiet, nil
	}
	number, found := strings.CutSuffix(text, "sec")
	n, err := strconv.ParseInt(number, 10, 32)
	if !found {
		n /= 1000
	}
	return time.Duration(n) * time.Second, err
}

func (s *Server) serveQueue(w http.ResponseWriter, r *http.Request, path []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.maintain()
	switch {
	case slices.Equal(path, []string{"api", "json"}):
		list := []any{}
		for _, it := range s.order {
			list = append(list, s.describeItem(it))
		}
		object(w, map[string]any{"_class": "hudson.model.Queue", "items": list})
	case len(path) == 4 && path[0] == "item" && path[2] == "api":
		id, _ := strconv.ParseInt(path[1], 10, 64)
		if it := s.items[id]; it != nil {
			object(w, s.describeItem(it))
			return
		}
		page(w, http.StatusNotFound, "not found")
	case slices.Equal(path, []string{"cancelItem"}) && r.Method == http.MethodPost:
		id, _ := strconv.ParseInt(r.URL.Query().Get("id"), 10, 64)
		it := s.items[id]
		switch {
		case it == nil:
			page(w, http.StatusNotFound, "not found")
		case !it.left.IsZero():
			page(w, http.StatusInternalServerError, "Oops")
		default:
			it.left, it.cancelled = time.Now(), true
			s.order = slices.DeleteFunc(s.order, func(o *item) bool { return o == it })
			w.WriteHeader(http.StatusNoContent)
		}
	default:
		page(w, http.StatusNotFound, "not found")
	}
}

func (s *Server) serveBuild(w http.ResponseWriter, r *http.Request, j *job, path []string) {
	s.mu.Lock()
	n, _ := strconv.Atoi(path[0])
	var b *Build
	if n >= 1 && n <= len(j.builds) {
		b = j.builds[n-1]
	}
	exact := s.faults.ExactSize
	s.mu.Unlock()
	if b == nil {
		page(w, http.StatusNotFound, "not found")
		return
	}
	switch action := strings.Join(path[1:], "/"); action {
	case "api/json":
		object(w, describeBuild(b))
	case "logText/progressiveText":
		serveLog(w, r, b, exact)
	case "consoleText":
		w.Header().Set("Content-Type", "text/plain;charset=utf-8")
		_, _ = io.WriteString(w, stripNotes(b.Log()))
	case "stop", "term", "kill":
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", "POST")
			page(w, http.StatusMethodNotAllowed, "This URL requires POST")
			return
		}
		switch {
		case action != "stop" && !j.Pipeline:
			page(w, http.StatusNotFound, "not found")
			return
		case action == "kill":
			b.kill()
		default:
			b.requestStop()
		}
		w.Header().Set("Location", "./")
		w.WriteHeader(http.StatusFound)
	default:
		page(w, http.StatusNotFound, "not found")
	}
}

func serveLog(w http.ResponseWriter, r *http.Request, b *Build, exact bool) {
	start, err := strconv.Atoi(r.FormValue("start"))
	if err != nil {
		page(w, http.StatusInternalServerError, "Oops")
		return
	}
	text, size, complete := b.since(start, exact)
	w.Header().Set("Content-Type", "text/plain;charset=utf-8")
	w.Header().Set("X-Text-Size", strconv.Itoa(size))
	w.Header().Set("X-Jenkins", Version)
	if !complete {
		w.Header().Set("X-More-Data", "true")
	}
	_, _ = io.WriteString(w, strings.ReplaceAll(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n", "\r\n"))
}

func object(w http.ResponseWriter, value map[string]any) {
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.Header().Set("X-Jenkins", Version)
	_ = json.NewEncoder(w).Encode(value) // the client has gone
}
