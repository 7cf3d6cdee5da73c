package main_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A secret is recognized by its first part, which is the same in most encodings. Encodings
// differ in the second part.
const secretTail = `+/"<&%=`

// The secrets that are configured, or that clients send.
const (
	environmentToken = "eNv1T0kEnQzXwVu" + secretTail // {env.…}
	fileToken        = "fIl2T0kEnQzXwVu" + secretTail // {file.…}
	digestToken      = "dIg3T0kEnQzXwVu" + secretTail // its digest is in the Caddyfile
	expiredToken     = "eXp4T0kEnQzXwVu" + secretTail
	wrongToken       = "wRo5T0kEnQzXwVu" + secretTail // of no job
	password         = "pAs6W0rDQzXwVu" + secretTail  // a parameter
	jobVariable      = "kEy7V4rIaBlEQzXw" + secretTail
	serverVariable   = "sRv8V4rIaBlEQzXw" + secretTail
	accountPassword  = "wonderland"
	plainValue       = "pLa9V4lUeQzXwVu" + secretTail // a string parameter
	fileContent      = "cOn0T3nTQzXwVu" + secretTail  // of a file parameter
)

// needles returns the forms in which a secret can be written down. The whole digest counts too,
// because a weak secret can be found from it with a list of likely ones.
func needles(secret string) map[string][]byte {
	stem := strings.TrimSuffix(secret, secretTail)
	sum := sha256.Sum256([]byte(secret))
	var escaped, unicode strings.Builder
	for _, b := range []byte(stem) {
		fmt.Fprintf(&escaped, "%%%02X", b)
		fmt.Fprintf(&unicode, `\u%04x`, b)
	}
	all := map[string][]byte{
		"as it is": []byte(stem), "percent-encoded": []byte(escaped.String()), "as \\u": []byte(unicode.String()),
		"in hex": []byte(hex.EncodeToString([]byte(stem))), "as a digest": sum[:],
		"as a digest in base64": []byte(base64.RawStdEncoding.EncodeToString(sum[:])),
	}
	if secret != digestToken { // the operator's Caddyfile contains its digest
		all["as a digest in hex"] = []byte(hex.EncodeToString(sum[:]))
	}
	// In the middle of a longer text, base64 depends on the text before.
	for shift := range 3 {
		text := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + stem))
		from := (shift*8 + 5) / 6
		all["in base64, shifted by "+strconv.Itoa(shift)] = []byte(text[from : len(text)-2])
	}
	return all
}

// found returns which secrets a text contains, and in which form.
func found(text []byte, secrets ...string) []string {
	var names []string
	folded := bytes.ToLower(text)
	for _, secret := range secrets {
		for how, needle := range needles(secret) {
			hit := bytes.Contains(text, needle)
			if !strings.Contains(how, "base64") && how != "as a digest" {
				hit = bytes.Contains(folded, bytes.ToLower(needle))
			}
			if hit {
				names = append(names, secret+" "+how)
			}
		}
	}
	slices.Sort(names)
	return names
}

func TestNeedlesAreFound(t *testing.T) {
	const secret = environmentToken
	sum := sha256.Sum256([]byte(secret))
	for _, text := range []string{
		secret, strings.ToUpper(secret), url.QueryEscape(secret), fmt.Sprintf("%q", secret), fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret),
		"sha256:" + hex.EncodeToString(sum[:]), string(sum[:]),
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.URLEncoding.EncodeToString([]byte(secret)),
		base64.StdEncoding.EncodeToString([]byte("a:" + secret)), base64.StdEncoding.EncodeToString([]byte("alice:" + secret)),
		base64.StdEncoding.EncodeToString([]byte("bob:" + secret)), base64.StdEncoding.EncodeToString(sum[:]),
	} {
		if got := found([]byte("before "+text+" after"), secret, fileToken); len(got) != 1 || !strings.HasPrefix(got[0], secret) {
			t.Errorf("in %q: found %q, want %s once", text, got, secret)
		}
	}
	if got := found([]byte("nothing of that kind"), secret); len(got) != 0 {
		t.Errorf("found %q in an empty text", got)
	}
}

// tokens are secrets that open a job, or once did, or do not.
func tokens() []string {
	return []string{environmentToken, fileToken, digestToken, expiredToken, wrongToken}
}

// sweep is a server and what clients sent to it.
type sweep struct {
	*server
	prefix   string
	filtered bool // the filter of the documents is in use
	requests int
	statuses map[int]bool
}

// caddyfile returns a site with our directive between before and after.
func (s *sweep) caddyfile(option, snippets, logging, before, after string) string {
	digest := sha256.Sum256([]byte(digestToken))
	return fmt.Sprintf(`%[1]s
{
	admin %[2]s
	auto_https off
	metrics
	%[3]s
	log default {
		output file %[4]s/default.log
		%[5]s
	}
}
http://%[6]s {
	log {
		output file %[4]s/access.log
		%[5]s
	}
	respond /ready ready
	%[7]s
	@people not path /buildByToken/* /ready
	basic_auth @people {
		alice $2a$04$f5HBYHqU9Ww1tEDulIbHYOGzp2tgd9w58uIPxLUqoikVUXjQSx9OW
	}
	build_token {
		access {
			build `+"`user == \"alice\"`"+`
			cancel `+"`user == \"alice\"`"+`
		}
		folder site {
			token env {env.SWEEP_ENVIRONMENT} {
				grant trigger status log cancel
			}
			env DEPLOY_KEY {env.SWEEP_KEY}
			job deploy {
				quiet_period 0
				param VERSION string
				param PASS password
				param TARGET choice staging production
				param FORCE boolean
				param NOTES text
				param PATCH file
				run sh -c "echo started; until [ -e '%[4]s/release' ]; do sleep 0.05; done" {
					dir .
				}
			}
			job other {
				quiet_period 1h
				token {file.%[4]s/token} {
					grant trigger status log cancel
				}
				poll sh -c "exit 1"
				run true
			}
			job guarded {
				param PASS password
				param VERSION string
				allow `+"`int(params.VERSION) > 3 && params.PASS != \"\"`"+`
				run true
			}
		}
		job digested {
			quiet_period 1h
			token sha256:%[8]x
			token old {env.SWEEP_EXPIRED} {
				expires 2020-01-01T00:00:00Z
			}
			run true
		}
		job off {
			disabled
			token {file.%[4]s/token}
			run true
		}
		job closed {
			run true
		}
	}
	%[9]s
}
`, snippets, s.admin, option, s.dir, logging, s.site, before, digest, after)
}

// newSweep returns a server whose configuration has all the secrets.
func newSweep(t *testing.T, prefix string) *sweep {
	t.Helper()
	s := &sweep{server: newServer(t, ""), prefix: prefix, statuses: map[int]bool{}}
	if err := os.Mkdir(filepath.Join(s.dir, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.put("token", fileToken)
	s.environment = append(s.environment, "TMPDIR="+filepath.Join(s.dir, "tmp"), "SWEEP_ENVIRONMENT="+environmentToken,
		"SWEEP_EXPIRED="+expiredToken, "SWEEP_KEY="+jobVariable, "SWEEP_SERVER="+serverVariable)
	return s
}

func (s *sweep) put(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// send sends a request without following redirects, and searches the answer for secrets. shown
// are those that it may contain.
func (s *sweep) send(method, target string, header http.Header, body string, shown ...string) (status int, answer string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+s.site+s.prefix+target, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, target, err)
	}
	s.requests++
	s.statuses[resp.StatusCode] = true
	s.look(fmt.Sprintf("the answer to %s %s", method, target), fmt.Appendf(nil, "%v\n%s", resp.Header, text), shown...)
	return resp.StatusCode, string(text)
}

// raw sends requests that no client library would send.
func (s *sweep) raw(text string) {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.site)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		s.t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		s.t.Fatal(err)
	}
	s.look("a raw answer", answer)
}

// secrets returns all secrets.
func secrets() []string {
	return append(tokens(), password, jobVariable, serverVariable, accountPassword, plainValue, fileContent)
}

// look fails if a text contains secrets, except for those that may be shown there.
func (s *sweep) look(where string, text []byte, shown ...string) {
	s.t.Helper()
	hidden := slices.DeleteFunc(secrets(), func(secret string) bool { return slices.Contains(shown, secret) })
	if len(found(text, hidden...)) == 0 {
		return
	}
	complaints := 0
	for line := range bytes.Lines(text) {
		for _, name := range found(line, hidden...) {
			if complaints++; complaints < 40 {
				s.t.Errorf("in %s: %s, as in %.700s", where, name, line)
			}
		}
	}
}

func form(pairs ...string) string {
	values := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	return values.Encode()
}

const formType = "application/x-www-form-urlencoded"

func withType(contentType string) http.Header { return http.Header{"Content-Type": {contentType}} }

// multipartForm returns a form with values and a file.
func multipartForm(t *testing.T, pairs ...string) (contentType, body string) {
	t.Helper()
	var b strings.Builder
	w := multipart.NewWriter(&b)
	for i := 0; i+1 < len(pairs); i += 2 {
		if err := w.WriteField(pairs[i], pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	file, err := w.CreateFormFile("PATCH", "fix.patch")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(file, strings.Repeat(fileContent, 1<<16)); err != nil { // too large for memory
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.String()
}

// places sends tokens, right and wrong ones, in all places where clients can send them.
func (s *sweep) places(method, endpoint, job, token string) {
	s.t.Helper()
	rest := "&delay=1h&item=1&start=0&cause=push"
	at := func(target string) string { return "/buildByToken/" + endpoint + target }
	ask := at("?job=" + url.QueryEscape(job) + rest)
	escaped := url.QueryEscape(token)
	s.send(method, ask+"&token="+escaped, nil, "")
	s.send(method, ask+"&%74oken="+escaped, nil, "")
	s.send(method, ask+"&token="+escaped+"&token="+escaped, nil, "")
	s.send(method, ask+"&Token="+escaped, nil, "")
	s.send(method, ask+"&"+escaped, nil, "")
	s.send(method, ask+"&token=%zz"+escaped, nil, "")
	s.send(method, ask+";token="+escaped, nil, "")
	s.send(method, ask+"?token="+escaped, nil, "")
	s.send(method, at("&job="+url.PathEscape(job)+"&token="+escaped), nil, "") // & instead of ?
	s.send(method, at("/"+url.PathEscape(token)+"?job="+url.QueryEscape(job)), nil, "")
	s.send(method, "/buildByToken/"+url.PathEscape(token)+"/"+endpoint, nil, "")
	s.send(method, ask, http.Header{"Authorization": {"Bearer " + token}}, "")
	s.send(method, ask, http.Header{"Authorization": {token}}, "")
	s.send(method, ask, http.Header{"X-Build-Token": {token, token}}, "")
	s.send(method, ask, http.Header{"X-Gitlab-Token": {token}}, "")
	s.send(method, ask, http.Header{"Private-Token": {token}, "X-Api-Key": {token}, "X-Auth": {token}}, "")
	s.send(method, ask, http.Header{"Cookie": {"token=" + token}}, "")
	s.send(method, ask, http.Header{"Referer": {"http://" + s.site + ask + "&token=" + escaped}, "X-Build-Token": {token}}, "")
	basic := base64.StdEncoding.EncodeToString([]byte("alice:" + token))
	s.send(method, ask, http.Header{"Authorization": {"Basic " + basic}}, "")
	if method != http.MethodPost {
		return
	}
	body := form("token", token, "PASS", password, "VERSION", plainValue)
	s.send(method, ask, withType(formType), body)
	s.send(method, ask, withType(formType), body+"%zz")
	s.send(method, ask, withType("application/json"), `{"token":"`+wrongToken+`"}`)
	s.send(method, ask, withType("multipart/form-data; boundary=x"), "--x\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n"+token)
	kind, parts := multipartForm(s.t, "token", token, "PASS", password)
	s.send(method, ask, withType(kind), parts)
}

// parameters sends passwords and other parameters, right and wrong, with a right token.
func (s *sweep) parameters() {
	s.t.Helper()
	header := func() http.Header {
		return http.Header{"X-Build-Token": {environmentToken}, "Content-Type": {formType}}
	}
	for _, job := range []string{"site/deploy", "site/guarded", "site/other", "off", "closed", "nowhere"} {
		for _, pairs := range [][]string{
			{"PASS", password, "VERSION", plainValue},
			{"PASS", password, "PASS", password},
			{"PASS", password, "TARGET", password},
			{"PASS", password, "FORCE", password, "VERSION", plainValue},
			{"PASS", password + "\x00"},
			{"PASS", password + "\xff"},
			{"PASS", strings.Repeat(password, 1<<14)},
			{"PASS", strings.Repeat(password, 1<<17)},
			{"PASS", password, "delay", "soon", "item", "x"},
		} {
			body := form(append(pairs, "delay", "1h")...)
			s.send(http.MethodPost, "/buildByToken/buildWithParameters?job="+url.QueryEscape(job), header(), body)
			if len(body) < 1<<12 {
				s.send(http.MethodGet, "/buildByToken/buildWithParameters?job="+url.QueryEscape(job)+"&"+body, header(), "")
				alice := header()
				alice.Set("Authorization", account())
				s.send(http.MethodPost, "/job/"+strings.ReplaceAll(job, "/", "/job/")+"/buildWithParameters?"+body, alice, "")
			}
		}
	}
}

// strangers sends requests that are stopped before they reach our handler.
func (s *sweep) strangers() {
	s.t.Helper()
	query := form("token", fileToken, "PASS", password, "VERSION", plainValue)
	wrong := "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+wrongToken))
	for _, target := range []string{"/job/site/job/other/build?" + query, "/job/site/job/deploy/buildWithParameters?" + query, "/?" + query, "/buildbytoken/build?" + query} {
		for _, authorization := range []string{"Bearer " + fileToken, wrong} {
			header := http.Header{"X-Build-Token": {fileToken}, "X-Gitlab-Token": {wrongToken}, "Authorization": {authorization}, "Referer": {"http://" + s.site + "/?" + query}}
			s.send(http.MethodPost, target, header, "")
		}
	}
}

// account returns the header that a browser sends with name and password.
func account() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+accountPassword))
}

// people requests everything that an account can read.
func (s *sweep) people() {
	s.t.Helper()
	alice := func() http.Header { return http.Header{"Authorization": {account()}} }
	for _, target := range []string{
		"/", "/api/json?depth=2&tree=jobs[*,builds[*,actions[*]]]", "/queue/", "/queue/api/json?depth=2", "/computer/", "/rssAll",
		"/whoAmI/api/json", "/crumbIssuer/api/json", "/queue/item/1/", "/queue/item/1/api/json", "/queue/item/2/", "/queue/item/2/api/json",
		"/job/site/", "/job/site/api/json", "/job/site/job/deploy/", "/job/site/job/deploy/api/json?depth=2", "/job/site/job/deploy/rssAll",
		"/job/site/job/deploy/1/", "/job/site/job/deploy/1/api/json", "/job/site/job/deploy/1/console", "/job/site/job/deploy/1/consoleText",
		"/job/site/job/deploy/1/logText/progressiveText?start=0", "/job/site/job/deploy/lastBuild/", "/job/site/job/other/scmPollLog/",
		"/job/site/job/other/pollingLog", "/job/digested/", "/job/off/", "/job/closed/", "/job/nowhere/", "/buildByToken/-/log/job/site/job/deploy/1",
	} {
		for _, accept := range []string{"text/html", "application/json"} {
			header := alice()
			header.Set("Accept", accept)
			s.send(http.MethodGet, target, header, "", plainValue) // values that are not passwords are shown to readers
		}
	}
	for _, target := range []string{
		"/job/site/job/deploy/buildForm", "/job/site/job/guarded/buildForm", "/job/site/job/guarded/buildWithParameters", "/job/digested/build?token=" + wrongToken[:15],
	} {
		for _, body := range []string{
			form("PASS", password, "TARGET", "elsewhere", "VERSION", plainValue, "delay", "1h"),
			form("PASS", password, "TARGET", "staging", "VERSION", plainValue, "delay", "soon"),
			form("PASS", password, "PASS", password),
			form("PASS", password, "VERSION", plainValue, "delay", "1h"),
		} {
			header := alice()
			header.Set("Content-Type", formType)
			s.send(http.MethodPost, target, header, body, plainValue)
		}
	}
}

// administrator uses the admin endpoint and the command line.
func (s *sweep) administrator() {
	s.t.Helper()
	for _, path := range []string{
		"/config/", "/config/apps", "/build_token/", "/metrics", "/debug/vars", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/pki/ca/local", "/reverse_proxy/upstreams",
	} {
		resp, err := http.Get("http://" + s.admin + path)
		if err != nil {
			s.t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			s.t.Fatal(err)
		}
		s.look("the admin endpoint's "+path, text)
		if path == "/metrics" && !bytes.Contains(text, []byte(`caddy_build_token_triggers_total{job="site/deploy",outcome="created"}`)) {
			s.t.Errorf("no metrics of ours: got %.500s", text)
		}
	}
	for _, args := range [][]string{
		{"build-token", "status", "--address", s.admin},
		{"build-token", "status", "--json", "--address", s.admin},
		{"build-token", "tokens", "--address", s.admin},
		{"build-token", "tokens", "--json", "--address", s.admin},
		{"validate", "--config", s.file, "--adapter", "caddyfile"},
		{"adapt", "--config", s.file, "--adapter", "caddyfile"},
		{"reload", "--force", "--config", s.file, "--adapter", "caddyfile", "--address", s.admin},
	} {
		out, errs, err := s.command("", args...)
		if err != nil {
			s.t.Errorf("%v: %v\n%s", args, err, errs)
		}
		s.look(fmt.Sprint("what the command prints: ", args), []byte(out+errs))
	}
}

// refusedConfigurations have secrets in places where none are allowed.
func (s *sweep) refusedConfigurations() {
	s.t.Helper()
	good, err := os.ReadFile(s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, change := range [][2]string{
		{"{env.SWEEP_ENVIRONMENT}", "{env.SWEEP_MISSING}"},
		{"{env.SWEEP_ENVIRONMENT}", "{file." + s.dir + "/missing}"},
		{"run true", "run true {\n inherit_env SWEEP_SERVER=\n}"},
		{"quiet_period 1h", "quiet_period {env.SWEEP_KEY}"},
	} {
		bad := bytes.Replace(good, []byte(change[0]), []byte(change[1]), 1)
		s.put("bad", string(bad))
		out, errs, err := s.command("", "reload", "--config", filepath.Join(s.dir, "bad"), "--adapter", "caddyfile", "--address", s.admin)
		if err == nil {
			s.t.Errorf("a configuration with %q was taken", change[1])
		}
		s.look("what a refused reload prints", []byte(out+errs))
	}
}

// processes searches the process list, as every user of the machine can: the arguments of all
// processes, and the environment of those that the server started.
func (s *sweep) processes() {
	s.t.Helper()
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		s.t.Fatal(err)
	}
	builds := 0
	for _, folder := range folders {
		arguments, err := os.ReadFile(filepath.Join(folder, "cmdline"))
		if err != nil {
			continue // it has ended
		}
		s.look("the arguments of a process", arguments)
		variables, err := os.ReadFile(filepath.Join(folder, "environ"))
		if err != nil || !bytes.Contains(variables, []byte("WORKSPACE="+s.dir)) {
			continue
		}
		builds++
		s.look("the environment of a build", variables, password, jobVariable, plainValue) // which is intended
		if got := found(variables, password); len(got) == 0 {
			s.t.Error("the build did not get its password")
		}
	}
	if builds == 0 {
		s.t.Error("no build was seen among the processes")
	}
}

// files searches all files that the server has written.
func (s *sweep) files() {
	s.t.Helper()
	seen := map[string]bool{}
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(s.dir, path)
		if err != nil {
			return err
		}
		if name == "token" || name == "Caddyfile" || name == "bad" { // written by the operator
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen[filepath.Base(path)] = true
		switch {
		case strings.Contains(name, "/uploads/"), strings.Contains(name, "/workspaces/"):
			s.look(name, text, fileContent)
		case filepath.Base(name) == "queue.db":
			s.look(name, text, plainValue)
			if len(found(text, plainValue)) == 0 {
				s.t.Error("the queue contains no value at all, so the search proves nothing")
			}
		default:
			s.look(name, text)
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range []string{"queue.db", "queue.db.key", "autosave.json", "default.log", "access.log", "output", "1.log", "PATCH"} {
		if !seen[name] {
			s.t.Errorf("no file %s was searched", name)
		}
	}
	if left, err := os.ReadDir(filepath.Join(s.dir, "tmp")); err != nil || len(left) != 0 {
		s.t.Errorf("temporary files: got %v, %v, want none", left, err)
	}
}

// all runs all parts of the test.
func (s *sweep) all() {
	s.t.Helper()
	s.start()
	// A build that runs until it is released, with a password, a file and a variable.
	kind, body := multipartForm(s.t, "PASS", password, "VERSION", plainValue, "delay", "0")
	header := withType(kind)
	header.Set("X-Build-Token", environmentToken) // a large file needs it outside of the body
	if status, text := s.send(http.MethodPost, "/buildByToken/buildWithParameters?job=site/deploy", header, body); status != http.StatusCreated {
		s.t.Fatalf("trigger: got %d %q, want 201", status, text)
	}
	own := "?job=site/deploy&item=1"
	s.eventually("the build runs", func() bool {
		status, text := s.send(http.MethodGet, "/job/site/job/deploy/1/consoleText", http.Header{"Authorization": {account()}}, "")
		return status == http.StatusOK && strings.Contains(text, "started\n")
	})
	s.processes()
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodHead} {
		for _, endpoint := range []string{"build", "buildWithParameters", "polling", "status", "cancel", "nothing", "Build", ""} {
			s.places(method, endpoint, "site/other", fileToken)
		}
	}
	for job, token := range map[string]string{
		"site/deploy": environmentToken, "digested": digestToken, "site/guarded": environmentToken, "off": fileToken, "closed": fileToken, "nowhere": digestToken,
	} {
		s.places(http.MethodPost, "build", job, token)
	}
	queued := http.Header{"X-Gitlab-Token": {fileToken}}
	_, text := s.send(http.MethodPost, "/buildByToken/build?job=site/other&delay=2h&cause=to+be+cancelled", queued, "")
	id := strings.TrimSpace(text[strings.LastIndex(text, " ")+1:])
	for range 2 { // the second time, the item has left
		s.send(http.MethodPost, "/buildByToken/cancel?job=site/other&item="+id+"&token="+url.QueryEscape(fileToken), nil, "")
	}
	for range 2 { // the second time, it repeats the first
		s.send(http.MethodPost, "/buildByToken/build?job=site/other&delay=2h", http.Header{
			"X-Build-Token": {fileToken}, "Idempotency-Key": {`"once"`}, "Prefer": {"wait=1"},
		}, "")
	}
	s.parameters()
	s.people()
	if s.filtered {
		s.strangers()
	}
	// Wrong tokens come last, because they lead to 429.
	for _, token := range []string{expiredToken, wrongToken, fileToken} {
		for _, endpoint := range []string{"build", "status", "log"} {
			s.places(http.MethodPost, endpoint, "digested", token)
		}
	}
	s.raw("GET http://alice:" + url.QueryEscape(wrongToken) + "@" + s.site + s.prefix + "/buildByToken/build?job=digested&token=" + url.QueryEscape(wrongToken) + " HTTP/1.1\r\nHost: " + s.site + "\r\nConnection: close\r\n\r\n")
	s.raw("GET " + s.prefix + "/buildByToken/build?job=digested&token=" + url.QueryEscape(wrongToken) + "#" + url.QueryEscape(wrongToken) + " HTTP/1.1\r\nHost: " + s.site + "\r\nConnection: close\r\n\r\n")
	s.raw("POST " + s.prefix + "/buildByToken/build?job=digested&token=" + url.QueryEscape(wrongToken) + " HTTP/1.1\r\nHost: " + s.site + "\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n")
	for _, status := range []int{200, 201, 204, 303, 400, 403, 404, 405, 409, 413, 429} {
		if !s.statuses[status] {
			s.t.Errorf("no request was answered %d: some endpoint was not reached", status)
		}
	}
	s.administrator()
	s.refusedConfigurations()
	s.files() // while the server is running
	s.put("release", "")
	if _, text := s.send(http.MethodGet, "/buildByToken/log"+own, http.Header{"Authorization": {"Bearer " + environmentToken}}, ""); !strings.HasSuffix(text, "Finished: SUCCESS\n") {
		s.t.Errorf("log: got %q", text)
	}
	s.kill()
	s.files()
	access, err := os.ReadFile(filepath.Join(s.dir, "access.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	if got := bytes.Count(access, []byte("handled request")); got < s.requests {
		s.t.Errorf("the access log has %d entries for %d requests", got, s.requests)
	}
}

// TestSecretsStayInside uses every endpoint correctly and incorrectly. Then it searches every
// answer, log, metric, file and process for every token and password.
func TestSecretsStayInside(t *testing.T) {
	document, err := os.ReadFile(filepath.Join("..", "..", "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, filter, _ := strings.Cut(string(document), "(hide_queries) {")
	filter, _, found := strings.Cut(filter, "\n}\n")
	if !found {
		t.Fatal("docs/security.md has no snippet hide_queries")
	}
	for _, tt := range []struct {
		name, prefix                             string
		option, snippets, logging, before, after string
	}{
		{name: "with debug logs", option: "debug"},
		{name: "below a prefix", prefix: "/ci", before: "handle_path /ci/* {", after: "}"},
		{
			name: "with the filter of the documents", prefix: "/ci", before: "handle_path /ci/* {", after: "}",
			snippets: "(hide_queries) {" + filter + "\n}", logging: "import hide_queries",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSweep(t, tt.prefix)
			s.filtered = tt.logging != ""
			s.put("Caddyfile", s.caddyfile(tt.option, tt.snippets, tt.logging, tt.before, tt.after))
			s.all()
		})
	}
}
