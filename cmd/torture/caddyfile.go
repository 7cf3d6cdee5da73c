package main

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// variation is the difference between the configurations that are loaded.
type variation struct {
	executors  int
	queueLimit int
	// disabled and concurrent are for the toggled job.
	disabled, concurrent bool
	// brief means that it is refused after its servers have started: Caddy opens the addresses one
	// after the other. A request that reaches them is answered with 503.
	brief bool
}

// calm returns the configuration under which everything that is queued gets built.
func calm() variation { return variation{executors: maxExecutors, queueLimit: 10_000} }

const maxExecutors = 5

func vary(d dice) variation {
	v := variation{executors: 1 + d.IntN(maxExecutors), queueLimit: 10_000, disabled: d.chance(25), concurrent: d.chance(40)}
	if d.chance(15) {
		v.queueLimit = 5 + d.IntN(30)
	}
	return v
}

// site has the addresses and directories of a server.
type site struct {
	dir, self            string // self is this program, which the builds run
	home                 string // the directory of this server; dir, if there is one server
	address, admin, busy string // loopback host:port; the harness listens on busy
	jobs                 []*job
	member               *member // nil for one server, with a queue in a file
}

// member has the settings of a server that shares its queue.
type member struct {
	name     string
	labels   []string
	database string // a connection string
	takeover time.Duration
}

// key is the seal key of passwords, the same for all members.
const key = "746f727475726521746f727475726521746f727475726521746f727475726521"

func (s site) ledger() string { return path.Join(s.dir, "ledger") }

// caddyfile writes the configuration. extra is appended.
func (s site) caddyfile(v variation, extra string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("{")
	line("admin %s", s.admin)
	line("auto_https off")
	line("persist_config off")
	line("skip_install_trust")
	line("grace_period 2s")
	line("build_token {")
	s.queue(line)
	line("executors %d", v.executors)
	line("queue_limit %d", v.queueLimit)
	line("keep_builds %d", keepBuilds)
	line("shutdown_timeout 700ms")
	line("wrong_tokens off")
	line("}")
	line("}")
	line("http://%s {", s.address)
	line("build_token {")
	if s.member != nil { // so that all servers give the same answers
		line("root_url http://torture.test")
	}
	line("access {\nread `true`\nbuild `true`\ncancel `true`\n}")
	line("token %s {\ngrant trigger status log cancel\n}", secret)
	s.folder(line, v, "")
	line("}")
	line("}")
	b.WriteString(extra)
	return b.String()
}

// queue writes where the queue is, and the name of the server.
func (s site) queue(line func(string, ...any)) {
	m := s.member
	if m == nil {
		line("queue bolt %q", path.Join(s.dir, "data", "queue.db"))
		return
	}
	line("queue postgres %q {\ntakeover_after %v\nkey %s\n}", m.database, m.takeover, key)
	line("node %s {\nlabels %s\n}", m.name, strings.Join(m.labels, " "))
}

// folder writes the content of a folder, whose name is empty or ends with a slash.
func (s site) folder(line func(string, ...any), v variation, name string) {
	var folders []string
	for _, j := range s.jobs {
		rest, below := strings.CutPrefix(j.name, name)
		if !below {
			continue
		}
		first, _, deeper := strings.Cut(rest, "/")
		if !deeper {
			s.job(line, v, j)
		} else if !slices.Contains(folders, first) {
			folders = append(folders, first)
		}
	}
	for _, folder := range folders {
		line("folder %s {", folder)
		s.folder(line, v, name+folder+"/")
		line("}")
	}
}

func (s site) job(line func(string, ...any), v variation, j *job) {
	line("job %s {", path.Base(j.name))
	line("quiet_period %v", j.quiet)
	if j.label != "" {
		line("label %s", j.label)
	}
	for _, option := range j.options {
		line("%s", option)
	}
	if j.keep != keepBuilds {
		line("keep_builds %d", j.keep)
	}
	if j.toggled && v.disabled {
		line("disabled")
	}
	if j.toggled && v.concurrent {
		line("concurrent")
	}
	for _, p := range j.params {
		switch p.kind {
		case "choice":
			line("param %s choice %s", p.name, strings.Join(p.values, " "))
		default:
			line("param %s %s %s", p.name, p.kind, strconv.Quote(p.values[0]))
		}
	}
	lock := ""
	if j.alone {
		lock = path.Join(s.dir, "locks", strings.ReplaceAll(j.name, "/", "+"))
	}
	line("run %q build -ledger %q -lock %q -work %v -stubborn=%v -exit %d {", s.self, s.ledger(), lock, j.work, j.stubborn, j.exit)
	line("kill_delay 300ms")
	line("}")
	if j.polled {
		line("poll %q poll", s.self)
	}
	line("}")
}

// addressInUse is why a configuration is refused that is [variation.brief].
const addressInUse = "an address in use"

// broken writes a configuration that must be refused, and returns the reason.
func (s site) broken(d dice, v variation) (text, why string) {
	switch d.IntN(6) {
	case 0:
		return s.caddyfile(v, "") + "}\n", "a brace too many"
	case 1:
		return strings.Replace(s.caddyfile(v, ""), "coalesce never", "coalesce sometimes", 1), "an unknown way to coalesce"
	case 2:
		return strings.Replace(s.caddyfile(v, ""), "read `true`", "read `user + 1`", 1), "a rule that is no rule"
	case 3:
		return strings.Replace(s.caddyfile(v, ""), "token "+secret, "token {env.TORTURE_NOT_SET}", 1), "an empty secret"
	case 4:
		return s.caddyfile(v, "http://"+s.busy+" {\nrespond 200\n}\n"), addressInUse
	default:
		return s.caddyfile(v, "http://"+s.address+" {\n@x path /x\nbuild_token @x {\njob plain {\ntoken other\nrun true\n}\n}\n}\n"), "a job with two definitions"
	}
}
