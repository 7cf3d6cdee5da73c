//go:build unix

package caddymodule_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCommandsShowAnswersOfTheAdminAPI runs the commands that print an answer.
func TestCommandsShowAnswersOfTheAdminAPI(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) string { return now.Add(-d).UTC().Format(time.RFC3339Nano) }
	took := func(d time.Duration) string {
		return `{"name":"` + d.String() + `","last_number":1,"last_completed":1,"last_result":"SUCCESS","last_started":"` + ago(24*time.Hour*10+time.Minute+d) + `","last_ended":"` + ago(24*time.Hour*10+time.Minute) + `"}`
	}
	since := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
	local := since.Local().Format(time.DateTime)
	const get = "GET /build_token/"
	anHour := ago(time.Hour + 20*time.Second)
	decision := func(caller, env string, admitted bool) string {
		return fmt.Sprintf(`{"time":"%s","job":"site/deploy","action":"buildWithParameters",%s,"post":true,"params":[{"name":"ENV","value":"%s"},{"name":"PASS","hidden":true}],"admitted":%t}`,
			anHour, caller, env, admitted)
	}
	for _, tt := range []struct {
		name, args string
		script     []exchange
		want       ran
	}{
		{"no queue", "status", []exchange{{get, 200, `{"queues":[]}`}}, ran{0, "build_token is not configured\n", ""}},
		{"status", "status", []exchange{{get, 200, `{"queues":[{"path":"/q","node":"me","queued":3,"executors":2,"remote_builds":4,"running":[
			{"job":"a","number":1,"item":5,"node":"me","started":"2026-11-25T10:00:00Z"},
			{"job":"b","number":2,"item":6,"node":"me","remote":true,"started":"2026-11-25T10:00:00Z"},
			{"job":"c","number":3,"item":7,"node":"you","started":"2026-11-25T10:00:00Z"},
			{"job":"d","number":4,"item":8,"node":"you","remote":true,"started":"2026-11-25T10:00:00Z"}
		],"jobs":[
			{"name":"a","running":1,"last_number":1},
			{"name":"done","last_number":2,"last_completed":1,"last_result":"FAILURE","last_started":"` + ago(2*time.Hour+42*time.Second) + `","last_ended":"` + ago(2*time.Hour) + `"},
			{"name":"never","queued":2,"disabled":true,"next_item":9,"why":"In the quiet period"}
		],"gone":[
			{"name":"old","queued":1,"next_item":4,"until":"2026-11-25T10:00:00Z"},{"name":"older","queued":2,"until":"2026-11-25T10:00:00Z"}
		]}]}`}}, ran{0, `queue      /q
queued     3
running    1 of 2
           a #1, item 5, since ` + local + `
remote     1 of 4
           b #2, item 6, since ` + local + `
elsewhere  2
           c #3, item 7, on you since ` + local + `
           d #4, item 8, on you since ` + local + `

JOB    QUEUED  RUNNING  LAST BUILD
a      0       1        #1 running
done   0       0        #1 FAILURE 2h ago, took 42s
never  2       0        none (disabled); item 9 waits: In the quiet period
old    1                no server has this job; its items wait for it until ` + local + `; the first is item 4
older  2                no server has this job; its items wait for it until ` + local + `
`, ""}},
		{"status of a server whose remote builds were switched off", "status", []exchange{{get, 200, `{"queues":[{"path":"/q","node":"me","executors":1,
			"running":[{"job":"b","number":2,"item":6,"node":"me","remote":true,"started":"2026-11-25T10:00:00Z"}]}]}`}}, ran{0, `queue    /q
queued   0
running  0 of 1
remote   1 of 0
         b #2, item 6, since ` + local + `

JOB  QUEUED  RUNNING  LAST BUILD
`, ""}},
		{"status where remote builds may run", "status", []exchange{{get, 200, `{"queues":[{"path":"/q","node":"me","executors":1,"remote_builds":1}]}`}}, ran{0, `queue    /q
queued   0
running  0 of 1
remote   0 of 1

JOB  QUEUED  RUNNING  LAST BUILD
`, ""}},
		{"status of one executor", "status", []exchange{{get, 200, `{"queues":[{"path":"/q","node":"me","executors":1}]}`}}, ran{0, `queue    /q
queued   0
running  0 of 1

JOB  QUEUED  RUNNING  LAST BUILD
`, ""}},
		{"status with durations", "status", []exchange{{get, 200, `{"queues":[{"path":"/q","node":"me","executors":1,"jobs":[` + strings.Join([]string{
			took(-time.Second), took(999400 * time.Microsecond), took(time.Second), took(59 * time.Second), took(time.Minute), took(61 * time.Second),
			took(time.Hour), took(90 * time.Minute), took(47 * time.Hour), took(48 * time.Hour), took(71 * time.Hour),
		}, ",") + `]}]}`}}, ran{0, `queue    /q
queued   0
running  0 of 1

JOB      QUEUED  RUNNING  LAST BUILD
-1s      0       0        #1 SUCCESS 10d ago, took 0s
999.4ms  0       0        #1 SUCCESS 10d ago, took 999ms
1s       0       0        #1 SUCCESS 10d ago, took 1s
59s      0       0        #1 SUCCESS 10d ago, took 59s
1m0s     0       0        #1 SUCCESS 10d ago, took 1m
1m1s     0       0        #1 SUCCESS 10d ago, took 1m
1h0m0s   0       0        #1 SUCCESS 10d ago, took 1h
1h30m0s  0       0        #1 SUCCESS 10d ago, took 2h
47h0m0s  0       0        #1 SUCCESS 10d ago, took 47h
48h0m0s  0       0        #1 SUCCESS 10d ago, took 2d
71h0m0s  0       0        #1 SUCCESS 10d ago, took 2d
`, ""}},
		{"status as JSON is the answer", "status --json", []exchange{{get, 200, `{"queues": [] }`}}, ran{0, `{"queues": [] }`, ""}},
		{"status as JSON that breaks off", "status --json", []exchange{{get, 200, `{"queues":` + cut}}, ran{1, `{"queues":`, "unexpected EOF"}},
		{"status that breaks off", "status", []exchange{{get, 200, `{"queues":`}}, ran{1, "", "read the answer: unexpected EOF"}},
		{"status is refused", "status", []exchange{{get, 503, `{"error":"shutting down"}`}}, ran{1, "", "shutting down (503)"}},
		{"tokens are refused", "tokens", []exchange{{get + "tokens", 503, `{"error":"shutting down"}`}}, ran{1, "", "shutting down (503)"}},
		{"tokens as JSON", "tokens --json", []exchange{{get + "tokens", 200, `[]`}}, ran{0, `[]`, ""}},
		{"tokens", "tokens", []exchange{{get + "tokens", 200, `[
			{"place":"","name":"ci","state":"valid","grants":["trigger","log"],"uses":2,"first_use":"` + ago(2*time.Hour+20*time.Second) + `","last_use":"` + ago(time.Hour+20*time.Second) + `","from":["192.0.2.7","2001:db8::1"]},
			{"place":"site/","name":"old","state":"dead","grants":["trigger"],"expires":"2020-01-01T00:00:00Z","dead_uses":3,"first_use":"` + ago(2*time.Hour+20*time.Second) + `","last_use":"` + ago(2*time.Hour+20*time.Second) + `"},
			{"place":"site/a","name":"idle","state":"valid","grants":["trigger"],"from":[]}
		]`}}, ran{0, `DEFINED IN   TOKEN  STATE  GRANTS       EXPIRES               USES        FIRST USE  LAST USE  FROM
(top level)  ci     valid  trigger log  never                 2           2h ago     1h ago    192.0.2.7 2001:db8::1
site/        old    dead   trigger      2020-01-01T00:00:00Z  0 + 3 dead  2h ago     2h ago    
site/a       idle   valid  trigger      never                 0           -          -         
`, ""}},
		{"tokens whose names look like tags", "tokens", []exchange{{get + "tokens", 200, `[{"name":"<a>","state":"valid"},{"name":"&lt;","state":"valid"}]`}}, ran{0, `DEFINED IN   TOKEN  STATE  GRANTS  EXPIRES  USES  FIRST USE  LAST USE  FROM
(top level)  <a>    valid          never    0     -          -         
(top level)  &lt;   valid          never    0     -          -         
`, ""}},
		{"no deliveries", "deliveries", []exchange{{get + "deliveries", 200, `[]`}}, ran{0, "no webhook deliveries since the start\n", ""}},
		{"deliveries", "deliveries", []exchange{{get + "deliveries", 200, `[
			{"at":"2026-11-25T10:00:00Z","webhooks":["main","other"],"status":200,"outcome":"queued","events":["push to main","tag v1"],"jobs":[
				{"job":"a","outcome":"queued","item":7},{"job":"b","outcome":"ignored","reason":"another branch"}]},
			{"at":"2026-11-25T10:00:00Z","status":403,"outcome":"signature","events":["push to main"],"reason":"no secret fits"}
		]`}}, ran{0, `TIME                 WEBHOOK     STATUS  OUTCOME    EVENT
` + local + `  main,other  200     queued     push to main; tag v1
                                                      a: queued as item 7
                                                      b: ignored: another branch
` + local + `              403     signature  no secret fits
`, ""}},
		{"deliveries are refused", "deliveries", []exchange{{get + "deliveries", 503, `{"error":"shutting down"}`}}, ran{1, "", "shutting down (503)"}},

		{"no notifications", "notifications", []exchange{{get + "notifications", 200, `{}`}}, ran{0, "no notify is configured\n", ""}},
		{"notifications", "notifications", []exchange{{get + "notifications", 200, `{"targets":[
			{"target":"ops","waiting":2,"given_up":1,"oldest":"` + ago(time.Hour+20*time.Second) + `"},{"target":"gone","gone":true},{"target":"old","unknown":true}
		],"notifications":[
			{"id":1,"target":"ops","job":"a","build":3,"event":"ended","result":"FAILURE","state":"waiting","tries":2,"error":"503","next":"` + ago(-time.Hour-20*time.Second) + `","at":"` + ago(time.Hour+20*time.Second) + `"},
			{"id":2,"target":"ops","job":"a","event":"queued","state":"waiting","tries":1,"next":"` + ago(time.Minute) + `","at":"` + ago(time.Hour+20*time.Second) + `"},
			{"id":3,"target":"ops","job":"a","event":"queued","state":"given-up","tries":9,"error":"404","at":"` + ago(time.Hour+20*time.Second) + `"},
			{"id":4,"target":"ops","job":"a","event":"queued","state":"waiting","at":"` + ago(time.Hour+20*time.Second) + `"}
		]}`}}, ran{0, `TARGET  WAITING  OLDEST  GIVEN UP  STATE
ops     2        1h ago  1         ok
gone    0        -       0         answered 410 Gone, gets nothing until the next reload
old     0        -       0         not in the configuration

ID  TARGET  WHAT                WHEN    STATE
1   ops     a #3 ended FAILURE  1h ago  waiting: 503; try 3 in 1h
2   ops     a queued            1h ago  waiting; try 2 is due
3   ops     a queued            1h ago  given-up: 404
4   ops     a queued            1h ago  waiting
`, ""}},
		{"notifications without one that waits", "notifications", []exchange{{get + "notifications", 200, `{"targets":[{"target":"ops"}]}`}}, ran{0, `TARGET  WAITING  OLDEST  GIVEN UP  STATE
ops     0        -       0         ok
`, ""}},
		{"retry a notification", "notifications retry 17", []exchange{{"POST /build_token/notifications/retry?id=17", 204, ""}}, ran{}},
		{"retry no notification", "notifications retry 17", []exchange{{"POST /build_token/notifications/retry?id=17", 404, `{"error":"no such notification"}`}}, ran{1, "", "no such notification (404)"}},
		{"retry at no address", "notifications retry 17 --address :x", nil, ran{1, "", `":x" is no address of an admin API`}},
		{"test a receiver", "notify test site/ops A=1 B=2", []exchange{
			{"POST /build_token/notifications/test?param=A%3D1&param=B%3D2&target=site%2Fops", 200, `{"target":"site/ops"}`},
		}, ran{0, "site/ops accepted the sample\n", ""}},
		{"test a receiver that refuses", "notify test ops", []exchange{{"POST /build_token/notifications/test?target=ops", 200, `{"target":"ops","error":"404"}`}}, ran{1, "", "notify ops: 404"}},
		{"test no receiver", "notify test ops", []exchange{{"POST /build_token/notifications/test?target=ops", 404, `{"error":"no such notify"}`}}, ran{1, "", "no such notify (404)"}},
		{"test a receiver, and the answer breaks off", "notify test ops", []exchange{{"POST /build_token/notifications/test?target=ops", 200, `{`}}, ran{1, "", "read the answer: unexpected EOF"}},
		{"test a receiver as JSON", "notify test ops --json", []exchange{{"POST /build_token/notifications/test?target=ops", 200, `{"target":"ops"}`}}, ran{0, `{"target":"ops","error":""}` + "\n", ""}},
		{"test a receiver that refuses, as JSON", "notify test ops --json", []exchange{{"POST /build_token/notifications/test?target=ops", 200, `{"target":"ops","error":"404"}`}}, ran{
			1, `{"target":"ops","error":"404"}` + "\n", "notify ops: 404",
		}},
		{"test at no address", "notify test ops --address :x", nil, ran{1, "", `":x" is no address of an admin API`}},

		{"history at no address", "explain {dir}/Caddyfile --history --address :x", nil, ran{2, "", `":x" is no address of an admin API`}},
		{"history of one job", "explain {dir}/Caddyfile site/deploy --history", nil, ran{2, "", "--history goes without a job and without --webhook"}},
		{"history of a delivery", "explain {dir}/Caddyfile --history --webhook {dir}/token", nil, ran{2, "", "--history goes without a job and without --webhook"}},
		{"history is refused", "explain {dir}/Caddyfile --history", []exchange{{get + "decisions", 503, `{"error":"shutting down"}`}}, ran{2, "", "shutting down (503)"}},
		{"history breaks off", "explain {dir}/Caddyfile --history", []exchange{{get + "decisions", 200, `[`}}, ran{2, "", "read the answer: unexpected EOF"}},
		{"no history", "explain {dir}/Caddyfile --history", []exchange{{get + "decisions", 200, `[]`}}, ran{0, "0 of 0 decisions would change\n", ""}},
		{"history that does not change", "explain {dir}/Caddyfile --history", []exchange{{get + "decisions", 200, "[" + decision(`"token":"ci","place":"site/"`, "staging", true) + "]"}}, ran{0, "0 of 1 decision would change\n", ""}},
		{"history", "explain {dir}/Caddyfile --history", []exchange{{get + "decisions", 200, "[" + strings.Join([]string{
			decision(`"token":"ci","place":"site/","remote":"192.0.2.7"`, "production", true),
			decision(`"token":"ci","place":"site/","remote":"192.0.2.8"`, "production", true),
			decision(`"token":"ci","place":"site/"`, "staging", true),
			decision(`"operator":true`, "production", true),
			decision(`"webhook":"github"`, "production", true),
			decision(`"token":"x"`, "staging", true),
			decision(`"user":"alice"`, "production", true),
			decision(`"user":""`, "staging", true),
			decision(`"token":"ci","place":"site/","check":"rule","rule":"site/deploy allow 1"`, "staging", false),
			decision(`"token":"ci","place":"site/","check":"parameters"`, "staging", false),
			decision(`"token":"ci","place":"site/","cut":true`, "staging", true),
			decision(`"token":"ci","place":"site/","cut":true`, "staging", true),
			strings.Replace(decision(`"token":"ci","place":"site/"`, "staging", true), `"post":true`, `"post":false`, 1),
			strings.Replace(decision(`"token":"ci","place":"site/"`, "production", true), `"value"`, `"file":true,"value"`, 1),
		}, ",") + "]"}}, ran{1, `site/deploy by token ci of site/: accepted → refused by site/deploy allow 1 ({dir}/Caddyfile:23)
    2 times, last 1h ago from 192.0.2.8 with ENV=production PASS=****
site/deploy by the admin API: accepted → refused by site/deploy allow 1 ({dir}/Caddyfile:23)
    once, 1h ago with ENV=production PASS=****
site/deploy by webhook github: accepted → refused by site/deploy allow 1 ({dir}/Caddyfile:23)
    once, 1h ago with ENV=production PASS=****
site/deploy by token x of the top level: accepted → refused by the check of: token
    once, 1h ago with ENV=staging PASS=****
site/deploy by user alice: accepted → refused by site/deploy allow 1 ({dir}/Caddyfile:23)
    once, 1h ago with ENV=production PASS=****
site/deploy by anonymous: accepted → refused by the check of: token
    once, 1h ago with ENV=staging PASS=****
site/deploy by token ci of site/: refused by site/deploy allow 1 → accepted
    once, 1h ago with ENV=staging PASS=****
site/deploy by token ci of site/: refused by the check of: parameters → accepted
    once, 1h ago with ENV=staging PASS=****
site/deploy by token ci of site/: accepted → refused by the check of: method
    once, 1h ago with ENV=staging PASS=****
10 of 14 decisions would change
2 cannot be repeated: a parameter is too long to be kept
`, "decisions would change"}},
		{"history as JSON", "explain {dir}/Caddyfile --history --json", []exchange{{get + "decisions", 200, "[" + strings.Replace(decision(`"token":"ci","place":"site/"`, "production", true), anHour, "2026-11-25T10:00:00Z", 1) + "]"}}, ran{1, `{
	"decisions": 1,
	"changes": [
		{
			"job": "site/deploy",
			"from": "token ci of site/",
			"before": "accepted",
			"after": "refused by site/deploy allow 1 ({dir}/Caddyfile:23)",
			"rule": "site/deploy allow 1",
			"at": "{dir}/Caddyfile:23",
			"count": 1,
			"last": {
				"time": "2026-11-25T10:00:00Z",
				"job": "site/deploy",
				"action": "buildWithParameters",
				"token": "ci",
				"place": "site/",
				"post": true,
				"params": [
					{
						"name": "ENV",
						"value": "production"
					},
					{
						"name": "PASS",
						"hidden": true
					}
				],
				"admitted": true
			}
		}
	]
}
`, "decisions would change"}},

		{"nothing to prune", "prune", []exchange{{"POST /build_token/prune", 200, `[]`}}, ran{0, "nothing is left of removed jobs\n", ""}},
		{"prune", "prune", []exchange{{"POST /build_token/prune", 200, `[
			{"job":"a","gone_until":"` + ago(time.Hour+20*time.Second) + `","builds":2,"files":3,"bytes":1025},{"job":"","paths":["logs/x","workspaces/x"],"files":1,"bytes":1024}
		]`}}, ran{0, `JOB                                  TIMED OUT  BUILDS  FILES  KIB  
a                                    1h ago     2       3      2    
(not on record) logs/x workspaces/x  -          0       1      1    

removed: 2 jobs, 4 files, 3 KiB
`, ""}},
		{"prune whole KiB", "prune", []exchange{{"POST /build_token/prune", 200, `[{"job":"a","files":1,"bytes":1024},{"job":"b","files":1,"bytes":1024}]`}}, ran{0, `JOB  TIMED OUT  BUILDS  FILES  KIB  
a    -          0       1      1    
b    -          0       1      1    

removed: 2 jobs, 2 files, 2 KiB
`, ""}},
		{"prune dry", "prune --dry-run", []exchange{{get + "leftovers", 200, `[
			{"job":"a","gone_until":"` + ago(-time.Hour) + `","queued":1,"bytes":1},{"job":"b","running":2}
		]`}}, ran{0, `JOB  TIMED OUT  BUILDS  FILES  KIB  
a    -          0       0      1    stays: 1 queued, 0 running
b    -          0       0      0    stays: 0 queued, 2 running

found: 2 jobs, 0 files, 1 KiB
`, ""}},
		{"prune one as JSON", "prune --json", []exchange{{"POST /build_token/prune", 200, `[ ]`}}, ran{0, `[ ]`, ""}},
		{"prune one", "prune", []exchange{{"POST /build_token/prune", 200, `[{"job":"a"}]`}}, ran{0, "JOB  TIMED OUT  BUILDS  FILES  KIB  \na    -          0       0      0    \n\nremoved: 1 job, 0 files, 0 KiB\n", ""}},
		{"prune is refused", "prune", []exchange{{"POST /build_token/prune", 500, `{"error":"disk"}`}}, ran{1, "", "disk (500)"}},
		{"prune breaks off", "prune", []exchange{{"POST /build_token/prune", 200, `[`}}, ran{1, "", "read the answer: unexpected EOF"}},
		{"prune at no address", "prune --address :x", nil, ran{1, "", `":x" is no address of an admin API`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runScript(t, tt.args, tt.script, tt.want)
		})
	}
}

// archive returns a backup as the server sends it, of names and contents.
func archive(t *testing.T, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o600, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// sumsOf returns the sums of names and contents.
func sumsOf(files ...string) (text string) {
	for i := 0; i < len(files); i += 2 {
		text += fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(files[i+1])), files[i])
	}
	return text
}

// TestBackupCommand saves backups that a server sends, and refuses those that are not whole.
// A directory appears only for a whole one, and nothing is left of the others.
func TestBackupCommand(t *testing.T) {
	source := newBackup(t, nil)
	queue, err := os.ReadFile(filepath.Join(source, "queue.db"))
	if err != nil {
		t.Fatal(err)
	}
	whole := []string{"queue.db", string(queue), "queue.db.key", strings.Repeat("5e", 32), "logs/a/1.log", "hello\n"}
	sums := sumsOf(whole...)
	with := func(files ...string) string { return archive(t, append(append([]string{}, whole...), files...)...) }
	size := 0
	for i := 1; i < len(whole); i += 2 {
		size += len(whole[i])
	}
	const post = "POST /build_token/backup"
	const incomplete = "back up to {dir}/b: not a complete backup: "
	sized := func(bytes int) string { // a backup that has so many bytes, beside whole KiB
		log := strings.Repeat("x", 10<<10+bytes-(size-len("hello\n")+len(sums))%(1<<10))
		files := append(whole[:5:5], log)
		return archive(t, append(files, "SHA256SUMS", sumsOf(files...))...)
	}
	kib := (size-len("hello\n")+len(sums))>>10 + 10
	for _, tt := range []struct {
		name, args string
		script     []exchange
		want       ran
	}{
		{"a backup of whole KiB", "backup {dir}/b", []exchange{{post, 200, sized(0)}}, ran{0, fmt.Sprintf("{dir}/b: 4 files, %d KiB\n", kib), ""}},
		{"a backup of a byte more", "backup {dir}/b", []exchange{{post, 200, sized(1)}}, ran{0, fmt.Sprintf("{dir}/b: 4 files, %d KiB\n", kib+1), ""}},
		{"a whole backup", "backup {dir}/b", []exchange{{post, 200, with("SHA256SUMS", sums)}}, ran{
			0, fmt.Sprintf("{dir}/b: 4 files, %d KiB\n", (size+len(sums)+1023)/1024), "",
		}},
		{"a backup without the key", "backup {dir}/b --without-key", []exchange{{post + "?key=no", 200, archive(t, append(append(whole[:2:2], whole[4:]...), "SHA256SUMS", sums)...)}}, ran{
			0, fmt.Sprintf("{dir}/b: 3 files, %d KiB\n", (size-64+len(sums)+1023)/1024), "",
		}},
		{"the directory exists", "backup {dir}", nil, ran{1, "", "{dir} exists already; name a new directory"}},
		{"the directory is below a file", "backup {dir}/token/b", nil, ran{1, "", "back up: lstat {dir}/token/b: not a directory"}},
		{"the directory is nowhere", "backup {dir}/no/b", []exchange{{post, 200, ""}}, ran{1, "", "back up to {dir}/no/b: stat {dir}/no: no such file or directory"}},
		{"no address", "backup {dir}/b --address :x", nil, ran{1, "", `":x" is no address of an admin API`}},
		{"refused", "backup {dir}/b", []exchange{{post, 409, `{"error":"use pg_dump"}`}}, ran{1, "", "use pg_dump (409)"}},
		{"the server stops", "backup {dir}/b", []exchange{{post, 200, with()[:1000] + cut}}, ran{
			1, "", "back up to {dir}/b: queue.db: unexpected EOF",
		}},
		{"the server stops between files", "backup {dir}/b", []exchange{{post, 200, archive(t, "queue.db.key", strings.Repeat("5e", 256))[:1024] + cut}}, ran{
			1, "", "back up to {dir}/b: the server stopped before the end of the backup; its log has the reason, unless it was reloaded or stopped: unexpected EOF",
		}},
		{"a file outside", "backup {dir}/b", []exchange{{post, 200, archive(t, "../x", "")}}, ran{1, "", "back up to {dir}/b: mkdirat ..: path escapes from parent"}},
		{"a file twice", "backup {dir}/b", []exchange{{post, 200, archive(t, "x", "", "x", "")}}, ran{1, "", "back up to {dir}/b: openat x: file exists"}},
		{"no sums", "backup {dir}/b", []exchange{{post, 200, with()}}, ran{1, "", incomplete + "{partial} has no SHA256SUMS, which is written last"}},
		{"a sum that is too short", "backup {dir}/b", []exchange{{post, 200, with("SHA256SUMS", "5e  queue.db\n")}}, ran{1, "", incomplete + `line "5e  queue.db" of SHA256SUMS`}},
		{"a sum that is none", "backup {dir}/b", []exchange{{post, 200, with("SHA256SUMS", strings.Repeat("x", 64)+"  queue.db\n")}}, ran{1, "", incomplete + `line "` + strings.Repeat("x", 64) + `  queue.db" of SHA256SUMS`}},
		{"a sum that is too long", "backup {dir}/b", []exchange{{post, 200, with("SHA256SUMS", strings.Repeat("5", 65)+"  queue.db\n")}}, ran{1, "", incomplete + `line "` + strings.Repeat("5", 65) + `  queue.db" of SHA256SUMS`}},
		{"a sum of another file", "backup {dir}/b", []exchange{{post, 200, with("SHA256SUMS", strings.Repeat("5", 64)+"  x\n")}}, ran{1, "", incomplete + `line "` + strings.Repeat("5", 64) + `  x" of SHA256SUMS`}},
		{"a sum without a file", "backup {dir}/b", []exchange{{post, 200, with("SHA256SUMS", strings.Repeat("5", 64)+"\n")}}, ran{1, "", incomplete + `line "` + strings.Repeat("5", 64) + `" of SHA256SUMS`}},
		{"sums without the key", "backup {dir}/b", []exchange{{post, 200, with("SHA256SUMS", sumsOf(whole[:2]...))}}, ran{1, "", incomplete + "SHA256SUMS does not name queue.db.key"}},
		{"sums without the queue", "backup {dir}/b", []exchange{{post, 200, with("SHA256SUMS", sumsOf(whole[2:]...))}}, ran{1, "", incomplete + "SHA256SUMS does not name queue.db"}},
		{"sums with a long line", "backup {dir}/b", []exchange{{post, 200, with("SHA256SUMS", strings.Repeat("x", 1<<17))}}, ran{1, "", "back up to {dir}/b: read the backup: bufio.Scanner: token too long"}},
		{"a changed log", "backup {dir}/b", []exchange{{post, 200, with("SHA256SUMS", sumsOf(append(whole[:5:5], "bye\n")...))}}, ran{1, "", incomplete + "{partial}/logs/a/1.log was changed or damaged after the backup"}},
		{"a missing log", "backup {dir}/b", []exchange{{post, 200, archive(t, append(whole[:4:4], "SHA256SUMS", sums)...)}}, ran{1, "", incomplete + "stat {partial}/logs/a/1.log: no such file or directory"}},
		{"a queue that is none", "backup {dir}/b", []exchange{{post, 200, archive(t, append([]string{"queue.db", "x"}, append(whole[2:4:4], "SHA256SUMS", sumsOf(append([]string{"queue.db", "x"}, whole[2:4]...)...))...)...)}}, ran{
			1, "", incomplete + "boltqueue: not a usable queue file: {partial}/queue.db is damaged, or a copy that was made while it was written, or of another program: invalid database",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runScript(t, tt.args, tt.script, tt.want)
			dir := os.Getenv("HOME")
			found, err := filepath.Glob(filepath.Join(dir, "b*"))
			if err != nil || (len(found) == 1) != (tt.want.Status == 0) || len(found) > 1 {
				t.Errorf("left behind: %v, %v", found, err)
			}
		})
	}
}
