//go:build unix

package caddymodule_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What differs from run to run.
var (
	newYear   = regexp.MustCompile(`\b[A-Z][a-z]{2} \d{4}-01-01 00:00 UTC\b`)
	temporary = regexp.MustCompile(`\.\d+\.new\b`)
)

// TestCommandsThatReadFiles runs the commands that need no server.
func TestCommandsThatReadFiles(t *testing.T) {
	backup := filesOf(t, newBackup(t, map[string]string{"logs/a/1.log": "hello\n"}))
	withBackup := func(name, text string) map[string]string {
		files := maps.Clone(backup)
		if files["b/"+name] = text; text == "" && !strings.HasSuffix(name, "/") {
			delete(files, "b/"+name)
		} else if name == "queue.db.key" {
			files["b/SHA256SUMS"] = sumsOf("queue.db", files["b/queue.db"], name, text)
		}
		return files
	}
	queueFile := func(files map[string]string) map[string]string {
		all := map[string]string{"q/queue.db": backup["b/queue.db"], "q/queue.db.key": backup["b/queue.db.key"]}
		maps.Copy(all, files)
		return all
	}
	postgres := func(block string) string {
		return "{\n build_token {\n node me\n queue postgres postgres://127.0.0.1:1/x {\n" + block + "\n}\n}\n}\n"
	}
	const check = `{
	admin off
}
http://127.0.0.1:0 {
	build_token {
		folder team {
			token ci TacoTuesdayNight {
				expires 2020-01-01T00:00:00Z
				allow ` + "`params.ENV\n == \"x\"`" + `
			}
			allow ` + "`true`" + `
			job a {
				param ENV string
				run sh -c ` + "`echo $ENV\necho`" + `
			}
			job b {
				disabled
				schedule ` + "`0 4 * * *`" + `
				run true
			}
		}
	}
}
`
	caddyfile := map[string]string{"Caddyfile": check}
	const checkAll = `{
	admin off
}
(shared) {
	build_token {
		access {
			build ` + "`user ==\n \"alice\"`" + `
		}
		notify ops http://127.0.0.1:1/hook {
			on failure fixed
		}
		job a {
			token later TacoTuesdayNight {
				expires 2090-01-01T00:00:00Z
				grant trigger log
			}
			webhook github HubSecret99
			webhook gitlab HubSecret99
			on github push create {
				when ` + "`event.branch ==\n \"main\"`" + `
				include forks skips
			}
			on gitlab
			on github
			run true {
				user root
			}
			poll true
			schedule ` + "`0 0 1 1 *`" + ` {
				timezone UTC
				poll
			}
		}
		folder team {
			token TacoTuesdayNight2
			job jenkins {
				runner jenkins http://127.0.0.1:1 site/deploy
			}
			job http {
				runner http POST http://127.0.0.1:1/builds
			}
		}
	}
}
http://127.0.0.1:0 {
	import shared
}
http://127.0.0.2:0 {
	import shared
}
`
	explain := map[string]string{"Caddyfile": explained, "delivery": "no HTTP"}
	const explainA = "explain {dir}/Caddyfile site/deploy "
	for _, tt := range []struct {
		name  string
		files map[string]string
		args  string
		want  ran
	}{
		{"check without a file", nil, "check {dir}/no", ran{1, "", "read the configuration: reading config from file: open {dir}/no: no such file or directory"}},
		{"check of a file that is none", map[string]string{"x.json": `{"apps":[]}`}, "check {dir}/x.json", ran{1, "", "read the configuration: json: cannot unmarshal array into Go struct field Config.apps of type caddy.ModuleMap"}},
		{"check of a configuration that cannot load", map[string]string{"x.json": `{"apps":{"no":{}}}`}, "check {dir}/x.json", ran{1, "", "load the configuration: loading no app module: unknown module: no"}},
		{"check without build_token", map[string]string{"x.json": `{}`}, "check {dir}/x.json", ran{1, "", "build_token: app module build_token: module not configured"}},
		{"check", caddyfile, "check {dir}/Caddyfile", ran{1, `team/a
  runs      sh -c echo $ENV …
  token     ci of team: trigger, expired at 2020-01-01T00:00:00Z
              only if params.ENV == "x" ({dir}/Caddyfile:9)
  rule      team: true ({dir}/Caddyfile:12)

team/b (disabled)
  runs      true
  token     ci of team: trigger, expired at 2020-01-01T00:00:00Z
              only if params.ENV == "x" ({dir}/Caddyfile:9)
  schedule  0 4 * * *
  rule      team: true ({dir}/Caddyfile:12)

warning: {dir}/Caddyfile:9: "team": allow: the rule denies every trigger of job "team/b", which has no parameter ENV; ask for it first, as in "ENV" in params && … [unknown-param]
warning: {dir}/Caddyfile:8: "team": token ci: it expired at 2020-01-01T00:00:00Z, and callers that use it are refused [token-expired]
2 jobs, 2 warnings
`, "2 warnings"}},
		{"check as JSON", map[string]string{"Caddyfile": "{\nadmin off\n}\nhttp://127.0.0.1:0 {\nbuild_token {\njob a {\ntoken ci TacoTuesdayNight\nrun true\n}\n}\n}\n"}, "check {dir}/Caddyfile --json", ran{0, `{
	"jobs": [
		{
			"job": "a",
			"tokens": [
				{
					"name": "ci",
					"level": "a",
					"grants": "trigger"
				}
			],
			"rules": [],
			"run": "true"
		}
	],
	"warnings": []
}
`, ""}},
		{"check of all that can start and watch a job", map[string]string{"Caddyfile": checkAll}, "check {dir}/Caddyfile", ran{0, `team/jenkins
  runs      jenkins: site/deploy at http://127.0.0.1:1
  token     default of team: trigger
  users     if user == "alice"
  notifies  ops: failure fixed

team/http
  runs      http
  token     default of team: trigger
  users     if user == "alice"
  notifies  ops: failure fixed

a
  runs      true (as user root)
  token     later of a: trigger log, until 2090-01-01T00:00:00Z
  webhook   github: deliveries to /buildByToken/webhook?job=a, or without job
              push, create, with forks, skips only if event.branch == "main" ({dir}/Caddyfile:20)
              any event ({dir}/Caddyfile:26)
  webhook   gitlab: deliveries to /buildByToken/webhook?job=a, or without job
              any event ({dir}/Caddyfile:25)
  schedule  0 0 1 1 *, polls: next {new year}, {new year}, {new year}
  users     if user == "alice"
  notifies  ops: failure fixed

3 jobs, 0 warnings
`, ""}},
		{"check of a job that nothing can start", map[string]string{"Caddyfile": "{\nadmin off\n}\nhttp://127.0.0.1:0 {\nbuild_token {\njob a {\nrun true\n}\n}\n}\n"}, "check {dir}/Caddyfile", ran{1, `a
  runs      true
  nothing can start it

warning: {dir}/Caddyfile:6: "a": nothing can start this job: add a token to it or to a folder above it, a webhook with ` + "`" + `on` + "`" + `, or ` + "`" + `build` + "`" + ` to access [no-way-to-start]
1 job, 1 warning
`, "1 warning"}},

		{"check of a job that no user may start", map[string]string{"Caddyfile": "{\nadmin off\n}\nhttp://127.0.0.1:0 {\nbuild_token {\naccess {\nbuild false\n}\njob a {\nrun true\n}\n}\n}\n"}, "check {dir}/Caddyfile", ran{1, `a
  runs      true
  users     if false

warning: {dir}/Caddyfile:9: "a": nothing can start this job: add a token to it or to a folder above it, a webhook with ` + "`" + `on` + "`" + `, or ` + "`" + `build` + "`" + ` to access [no-way-to-start]
1 job, 1 warning
`, "1 warning"}},
		{"check of a job that users may start", map[string]string{"Caddyfile": "{\nadmin off\n}\nhttp://127.0.0.1:0 {\nbuild_token {\naccess {\nbuild true\n}\njob a {\nrun true\n}\n}\n}\n"}, "check {dir}/Caddyfile", ran{0, `a
  runs      true
  users     if true

1 job, 0 warnings
`, ""}},

		{"explain without a file", nil, "explain {dir}/no a", ran{2, "", "read the configuration: reading config from file: open {dir}/no: no such file or directory"}},
		{"explain without a job", explain, "explain {dir}/Caddyfile", ran{2, "", "the job is missing: explain <Caddyfile> <job>"}},
		{"explain at no time", explain, explainA + "--at noon", ran{2, "", `--at: "noon" is no time like 2027-01-31T08:00:00Z`}},
		{"explain from no address", explain, explainA + "--remote here", ran{2, "", `--remote: "here" is no address`}},
		{"explain no delivery", explain, explainA + "--webhook {dir}/no", ran{2, "", "--webhook: open {dir}/no: no such file or directory"}},
		{"explain a delivery that is none", explain, explainA + "--webhook {dir}/delivery", ran{2, "", `read the delivery: it is no HTTP request: malformed HTTP request "no HTTP"`}},
		{"explain no parameter", explain, explainA + "ENV", ran{2, "", `"ENV" is no parameter: want NAME=VALUE, or NAME=@FILE`}},
		{"explain no upload", explain, explainA + "ENV=@{dir}/no", ran{2, "", "parameter ENV: stat {dir}/no: no such file or directory"}},
		{"explain a trigger that is accepted", explain, explainA + "ENV=staging --token ci --at 2027-01-31T08:00:00Z", ran{0, `✓ method: POST
✓ job: site/deploy
✓ token: ci of site/
✓ grant: trigger status
✓ enabled
✓ endpoint: buildWithParameters
✓ delay: 5s
✓ parameters: ENV=staging PASS=****
✓ rule site allow 1 ({dir}/Caddyfile:21): true; request.method = "POST"
    request.method == "POST"
✓ rule site/deploy allow 1 ({dir}/Caddyfile:23): true; params.ENV = "staging"
    params.ENV == "staging"

accepted: 201
`, ""}},
		{"explain as JSON", explain, explainA + "--method get --json", ran{1, `{
	"job": "site/deploy",
	"decision": "refused",
	"status": 405,
	"answer": "use POST",
	"check": "method",
	"steps": [
		{
			"check": "method",
			"ok": false,
			"found": "GET is none of POST"
		}
	]
}
`, "refused"}},
		{"explain a poll with a cause, a delay and no token", explain, explainA + "--polling --token= --user alice --cause why --delay 1s", ran{1, `✓ method: POST
✓ job: site/deploy
✓ access build ({dir}/Caddyfile:8): the caller may build without a token
✓ enabled
✗ endpoint: site/deploy is not configured to poll

refused: 400 site/deploy is not configured to poll, by the check of: endpoint
`, "refused"}},
		{"explain a wrong delay", explain, explainA + "ENV=staging --delay soon", ran{1, `✓ method: POST
✓ job: site/deploy
✓ token: prod of site/deploy (the first that may trigger; --token chooses another)
✓ grant: trigger
✓ enabled
✓ endpoint: buildWithParameters
✗ delay: bad delay "soon": want milliseconds, 5sec, 90s or 5m

refused: 400 bad delay "soon": want milliseconds, 5sec, 90s or 5m, by the check of: delay
`, "refused"}},
		{"explain a trigger that is refused", explain, explainA + "ENV=production --remote ::ffff:192.0.2.7", ran{1, `✓ method: POST
✓ job: site/deploy
✓ token: prod of site/deploy (the first that may trigger; --token chooses another)
✓ grant: trigger
✓ enabled
✓ endpoint: buildWithParameters
✓ delay: 5s
✓ parameters: ENV=production PASS=****
✓ rule site allow 1 ({dir}/Caddyfile:21): true; request.method = "POST"
    request.method == "POST"
✗ rule site/deploy allow 1 ({dir}/Caddyfile:23): false; params.ENV = "production"
    params.ENV == "staging"

refused: 403 not allowed: only staging, by site/deploy allow 1 ({dir}/Caddyfile:23)
`, "refused"}},
		{"explain decisions of no server", explain, "explain {dir}/Caddyfile --history --address :x", ran{2, "", `":x" is no address of an admin API`}},
		{"explain without a directive", map[string]string{"x.json": `{"apps":{"build_token":{}}}`}, "explain {dir}/x.json a", ran{1, "✗ job: the configuration has no build_token directive\n\nrefused: 404, by the check of: job\n", "refused"}},
		{"explain a delivery without a directive", map[string]string{"x.json": `{"apps":{"build_token":{}}}`, "delivery": "POST / HTTP/1.1\r\nHost: x\r\n\r\n"}, "explain {dir}/x.json a --webhook {dir}/delivery", ran{1, "✗ job: the configuration has no build_token directive\n\nrefused: 404, by the check of: job\n", "refused"}},
		{"explain an upload", map[string]string{"Caddyfile": "{\nadmin off\n}\nhttp://127.0.0.1:0 {\nbuild_token {\njob a {\nparam NOTES file\ntoken TacoTuesday\nrun true\n}\n}\n}\n"}, "explain {dir}/Caddyfile a NOTES=@{dir}/Caddyfile", ran{0, `✓ method: POST
✓ job: a
✓ token: default of a (the first that may trigger; --token chooses another)
✓ grant: trigger
✓ enabled
✓ endpoint: buildWithParameters
✓ delay: 5s
✓ parameters: NOTES=Caddyfile

accepted: 201
`, ""}},

		{"explain a job of the second site", map[string]string{"Caddyfile": "{\nadmin off\n}\nhttp://127.0.0.1:0 {\nbuild_token {\njob a {\ntoken TacoTuesday\nrun true\n}\n}\n}\nhttp://127.0.0.2:0 {\nbuild_token {\njob b {\ntoken TacoTuesday2\nrun true\n}\n}\n}\n"}, "explain {dir}/Caddyfile b", ran{0, `✓ method: POST
✓ job: b
✓ token: default of b (the first that may trigger; --token chooses another)
✓ grant: trigger
✓ enabled
✓ endpoint: build
✓ delay: 5s
✓ parameters

accepted: 201
`, ""}},
		{"explain a job without parameters", map[string]string{"Caddyfile": "{\nadmin off\n}\nhttp://127.0.0.1:0 {\nbuild_token {\njob a {\ntoken TacoTuesday\nrun true\n}\n}\n}\n"}, "explain {dir}/Caddyfile a", ran{0, `✓ method: POST
✓ job: a
✓ token: default of a (the first that may trigger; --token chooses another)
✓ grant: trigger
✓ enabled
✓ endpoint: build
✓ delay: 5s
✓ parameters

accepted: 201
`, ""}},

		{"digest of nothing", nil, "digest", ran{1, "", "token: empty secret"}},
		{"digest", nil, "digest -p test", ran{0, "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n", ""}},
		{"policy-test of one file", map[string]string{"good": "rule a allow 1\n    true\n\n> \nallowed\n"}, "policy-test {dir}/good", ran{0, "{dir}/good: ok, 1 requests\n", ""}},
		{
			"policy-test",
			map[string]string{"good": "rule a allow 1\n    true\n\n> \nallowed\n", "bad": "rule a allow 1\n    true\n\n> \ndenied by a allow 1\n", "none": "nothing\n"},
			"policy-test {dir}/good {dir}/bad {dir}/none {dir}/no",
			ran{1, "{dir}/good: ok, 1 requests\n", `{dir}/bad: line 4: got "allowed", want "denied by a allow 1"
{dir}/bad:     a allow 1: true
{dir}/none: read: policy: bad case file: line 1: "nothing" is neither rule NAME, given, access nor a request (>)
{dir}/no: open: no such file or directory
3 of 4 files failed`},
		},

		{"restore without a configuration", backup, "restore {dir}/b --config {dir}/no", ran{1, "", "load the configuration: reading config from file: open {dir}/no: no such file or directory"}},
		{"restore with a queue in Postgres", withBackup("Caddyfile", postgres("")), "restore {dir}/b --config {dir}/b/Caddyfile", ran{1, "", "configuration {dir}/b/Caddyfile: its queue is postgres: restore that with pg_restore, and its key from your copy. Backups of this command hold a queue in a file"}},
		{"restore with a configuration that is none", withBackup("x.json", `{"apps":{"build_token":{"queue":{"path":1}}}}`), "restore {dir}/b --config {dir}/b/x.json", ran{1, "", "configuration {dir}/b/x.json: json: cannot unmarshal number into Go struct field .apps.build_token.queue.Bolt.path of type string"}},
		{"restore where the configuration has the queue", withBackup("Caddyfile", "{\nbuild_token {\nqueue bolt {$HOME}/q/queue.db\n}\n}\n"), "restore {dir}/b --config {dir}/b/Caddyfile", ran{0, `restored {dir}/q/queue.db: 3 files
Now start Caddy. What is queued builds again.
`, ""}},
		{"restore", backup, "restore {dir}/b --to {dir}/q/queue.db", ran{0, `restored {dir}/q/queue.db: 3 files
Now start Caddy. What is queued builds again.
`, ""}},
		{"restore nothing", nil, "restore {dir}/b --to {dir}/q/queue.db", ran{1, "", "not a complete backup: {dir}/b has no SHA256SUMS, which is written last"}},
		{"restore without the key", withBackup("queue.db.key", ""), "restore {dir}/b --to {dir}/q/queue.db", ran{1, "", "the key is not in the backup; copy yours to {dir}/b/queue.db.key: open {dir}/b/queue.db.key: no such file or directory"}},
		{"restore over a log", withBackup("../q/queue/logs/a/1.log", "x"), "restore {dir}/b --to {dir}/q/queue.db", ran{1, "", `there is data already, and mixing it with the backup would show logs of other builds: ["{dir}/q/queue/logs"]; use --move-aside to rename it, or name another file with --to`}},
		{"restore below a file", withBackup("../q", "x"), "restore {dir}/b --to {dir}/q/queue.db", ran{1, "", "restore: lstat {dir}/q/queue.db: not a directory"}},
		{"restore into a folder that is a file", withBackup("../q/queue", "x"), "restore {dir}/b --to {dir}/q/queue.db", ran{1, "", "restore: lstat {dir}/q/queue/logs: not a directory"}},

		{"restore a key that is none", withBackup("queue.db.key", "5e"), "restore {dir}/b --to {dir}/q/queue.db", ran{1, "", "key of the backup: not a usable key file: {dir}/b/queue.db.key holds 2 characters, want 64 hexadecimal digits"}},
		{"restore where a directory has the name of the key", withBackup("../q/queue.db.key/", ""), "restore {dir}/b --to {dir}/q/queue.db", ran{1, "", "restore: replace file: rename {dir}/q/queue.db.key.{random}.new {dir}/q/queue.db.key: file exists"}},
		{"restore where a directory has the name of the queue", withBackup("../q/queue.db/", ""), "restore {dir}/b --to {dir}/q/queue.db", ran{1, "", "restore: replace file: rename {dir}/q/queue.db.{random}.new {dir}/q/queue.db: file exists"}},
		{"restore to a place that cannot be", backup, "restore {dir}/b --to {dir}/b/SHA256SUMS/q/queue.db", ran{1, "", `path "{dir}/b/SHA256SUMS/q/queue.db": not a directory`}},

		{"migrate without a configuration", queueFile(nil), "migrate --config {dir}/no --from {dir}/q/queue.db", ran{1, "", "load the configuration: reading config from file: open {dir}/no: no such file or directory"}},
		{"migrate to no queue", queueFile(map[string]string{"x.json": `{}`}), "migrate -c {dir}/x.json -f {dir}/q/queue.db", ran{1, "", "configuration {dir}/x.json: its queue is bolt; name the database with `queue postgres …` in the global option build_token"}},
		{"migrate to a queue that is none", queueFile(map[string]string{"x.json": `{"apps":{"build_token":{"queue":{"queue":1}}}}`}), "migrate -c {dir}/x.json -f {dir}/q/queue.db", ran{1, "", "configuration {dir}/x.json: queue: json: cannot unmarshal number into Go struct field .queue of type string"}},
		{"migrate to an app that is none", queueFile(map[string]string{"x.json": `{"apps":{"build_token":1}}`}), "migrate -c {dir}/x.json -f {dir}/q/queue.db", ran{1, "", "configuration {dir}/x.json: json: cannot unmarshal number into Go struct field .apps.build_token of type caddymodule.App"}},
		{"migrate to a database without a url", queueFile(map[string]string{"x.json": `{"apps":{"build_token":{"queue":{"queue":"postgres"}}}}`}), "migrate -c {dir}/x.json -f {dir}/q/queue.db", ran{1, "", "configuration {dir}/x.json: queue postgres: the url is missing"}},
		{"migrate nothing", map[string]string{"Caddyfile": postgres("")}, "migrate -c {dir}/Caddyfile -f {dir}/q/queue.db", ran{1, "", "move {dir}/q/queue.db to postgres:127.0.0.1:1/x/buildtoken: boltqueue: stat {dir}/q/queue.db: no such file or directory"}},
		{"migrate from a variable that is not set", map[string]string{"Caddyfile": postgres("")}, "migrate -c {dir}/Caddyfile -f {env.NO_SUCH_VARIABLE}/queue.db", ran{1, "", "path of the queue: placeholder {env.NO_SUCH_VARIABLE} resolves to nothing: the environment variable NO_SUCH_VARIABLE is not set"}},
		{"migrate without a key", map[string]string{"Caddyfile": postgres(""), "q/queue.db": backup["b/queue.db"]}, "migrate -c {dir}/Caddyfile -f {dir}/q/queue.db", ran{1, "", "move {dir}/q/queue.db to postgres:127.0.0.1:1/x/buildtoken: the key of the queue is missing: open {dir}/q/queue.db.key: no such file or directory; put it back, or if it is lost, start Caddy once with the file to create a new one"}},
		{"migrate with a key that is none", queueFile(map[string]string{"Caddyfile": postgres(""), "q/queue.db.key": "5e"}), "migrate -c {dir}/Caddyfile -f {dir}/q/queue.db", ran{1, "", "move {dir}/q/queue.db to postgres:127.0.0.1:1/x/buildtoken: key of the queue: not a usable key file: {dir}/q/queue.db.key holds 2 characters, want 64 hexadecimal digits"}},
		{"migrate to servers with another key", queueFile(map[string]string{"Caddyfile": postgres("key " + strings.Repeat("ab", 32))}), "migrate -c {dir}/Caddyfile -f {dir}/q/queue.db", ran{1, "", "move {dir}/q/queue.db to postgres:127.0.0.1:1/x/buildtoken: the key is not that of the queue: queue postgres has another key than the file, so it could not read queued passwords or join equal triggers; write `key {file.{dir}/q/queue.db.key}` in its block, or move the content of that file to your other secrets and name its new place"}},

		{"import nothing", nil, "import-jenkins {dir}/no", ran{1, "", "read the jobs: stat {dir}/no: no such file or directory"}},
		{"import an empty directory", nil, "import-jenkins {dir} --out {dir}/out", ran{1, "", "there are no jobs in {dir}; name a JENKINS_HOME, or the config.xml of a job"}},
		{"import a whole Jenkins by its file", map[string]string{"config.xml": "<hudson/>"}, "import-jenkins {dir}/config.xml", ran{1, "", "{dir}/config.xml is the configuration of a whole Jenkins; name its directory, or the config.xml of a job"}},
		{"import with tokens of no kind", nil, "import-jenkins {dir} --tokens no", ran{1, "", `--tokens: "no" is none of digest, file and new`}},
		{"import with all relayed to nothing", nil, "import-jenkins {dir} --relay-all", ran{1, "", "--relay-all: name the Jenkins with --relay <url>"}},
		{"import with a relay that is none", nil, "import-jenkins {dir} --relay jenkins", ran{1, "", "--relay: jenkinsrunner: the URL must begin with http:// or https:// and a host"}},
		{"import with a relay and a user", nil, "import-jenkins {dir} --relay http://me@jenkins/", ran{1, "", "--relay: jenkinsrunner: the URL must not have a user; use user and its API token"}},
		{"import with a relay and a placeholder", nil, "import-jenkins {dir} --relay http://jenkins/{x}", ran{1, "", "--relay: the URL of Jenkins has no account, query or placeholder; jobs log in with JENKINS_USER and JENKINS_API_TOKEN"}},
		{"import with a relay and a query", nil, "import-jenkins {dir} --relay http://jenkins/?x", ran{1, "", "--relay: jenkinsrunner: the URL must have no query and no fragment"}},
		{"import with old secrets", map[string]string{"a.xml": "<project/>", "keys/secret.key": "5e"}, "import-jenkins {dir}/a.xml --secrets {dir}/keys --out {dir}/out", ran{0, `1 job: 0 imported, 1 imported with notes, 0 left out
Read {dir}/out/import-report.md, then run: caddy build-token check {dir}/out/Caddyfile
`, ""}},
		{"import a home with damaged keys", map[string]string{"home/jobs/a/config.xml": "<project/>", "home/secrets/master.key": "5e"}, "import-jenkins {dir}/home", ran{1, "", "read the keys of {dir}/home: jenkinshome: unusable keys: secrets has only one of master.key and hudson.util.Secret"}},
		{"import a job of a home with damaged keys", map[string]string{"home/jobs/a/config.xml": "<project/>", "home/secrets/master.key": "5e"}, "import-jenkins {dir}/home/jobs/a/config.xml", ran{1, "", "read the keys of {dir}/home: jenkinshome: unusable keys: secrets has only one of master.key and hudson.util.Secret"}},
		{"import with secrets of a file", map[string]string{"a.xml": "<project/>"}, "import-jenkins {dir}/a.xml --secrets {dir}/a.xml", ran{1, "", "read the keys of {dir}/a.xml: jenkinshome: read the keys: open secrets/master.key: not a directory"}},
		{"import a directory and a file", map[string]string{"home/jobs/a/config.xml": "<project/>", "b/config.xml": "<project/>"}, "import-jenkins {dir}/home {dir}/b/config.xml --out {dir}/out", ran{0, `2 jobs: 0 imported, 2 imported with notes, 0 left out
Read {dir}/out/import-report.md, then run: caddy build-token check {dir}/out/Caddyfile
`, ""}},
		{"import into a placeholder", nil, "import-jenkins {dir} --out {dir}/{x}", ran{1, "", "--out: {dir}/{x} has characters that mean something in a Caddyfile; choose another directory"}},
		{"import with secrets of nothing", map[string]string{"a.xml": "<project/>"}, "import-jenkins {dir}/a.xml --secrets {dir}", ran{1, "", "--secrets: {dir} has no secrets/master.key; name a JENKINS_HOME"}},
		{"import over a Caddyfile", map[string]string{"a.xml": "<project/>", "out/Caddyfile": ""}, "import-jenkins {dir}/a.xml --out {dir}/out", ran{1, "", "{dir}/out/Caddyfile exists already, and nothing was written; choose another directory with --out, or replace the files with --overwrite"}},
		{"import below a file", map[string]string{"a.xml": "<project/>", "out": ""}, "import-jenkins {dir}/a.xml --out {dir}/out", ran{1, "", "write the import: lstat {dir}/out/import-report.json: not a directory"}},
		{"import over a directory", map[string]string{"a.xml": "<project/>", "out/Caddyfile/x": ""}, "import-jenkins {dir}/a.xml --out {dir}/out --overwrite", ran{1, "", "write the import: remove {dir}/out/Caddyfile: directory not empty"}},
		{"import", map[string]string{"a.xml": "<project/>"}, "import-jenkins {dir}/a.xml --out {dir}/out", ran{0, `1 job: 0 imported, 1 imported with notes, 0 left out
Read {dir}/out/import-report.md, then run: caddy build-token check {dir}/out/Caddyfile
`, ""}},

		{"a token file that is missing", nil, "trigger a --url http://ci --token-file {dir}/no", ran{2, "", "read the token: open {dir}/no: no such file or directory"}},
		{"an upload that is missing", nil, "trigger a A=1 FILE=@{dir}/no --address 127.0.0.1:1", ran{2, "", "a: parameter FILE: open {dir}/no: no such file or directory"}},
		{"a configuration that is missing", nil, "status --config {dir}/no", ran{1, "", "find the admin API: reading config from file: open {dir}/no: no such file or directory"}},
		{"no socket", nil, "status --address unix//{dir}/no", ran{1, "", "no answer from the server: Get \"http://127.0.0.1/build_token/\": dial unix {dir}/no: connect: no such file or directory; is Caddy running, and not with `admin off`? Name the admin API with --address or --config"}},
		{"no socket, with permissions", nil, "log a --address unix//{dir}/no|0220", ran{2, "", "a: no answer from the server: Get \"http://127.0.0.1/build_token/console?job=a\": dial unix {dir}/no: connect: no such file or directory; is Caddy running, and not with `admin off`? Name the admin API with --address or --config, or use --url and a token"}},
		{"no site", nil, "cancel a 1 --url http://127.0.0.1:1", ran{2, "", `a: item 1: no answer from the server: Post "http://127.0.0.1:1/buildByToken/cancel?item=1&job=a": dial tcp 127.0.0.1:1: connect: connection refused`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := home(t)
			t.Setenv("BUILD_TOKEN", "of-the-variable")
			writeFiles(t, dir, tt.files)
			fields := strings.Fields(tt.args)
			for i := range fields {
				fields[i] = strings.ReplaceAll(strings.ReplaceAll(fields[i], "//{dir}", "/{dir}"), "{dir}", dir)
			}
			got := run(t, fields...)
			got.Out, got.Err = strings.ReplaceAll(got.Out, dir, "{dir}"), strings.ReplaceAll(got.Err, dir, "{dir}")
			got.Out, got.Err = newYear.ReplaceAllString(got.Out, "{new year}"), temporary.ReplaceAllString(got.Err, ".{random}.new")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.args, diff)
			}
		})
	}
}

// filesOf returns the files of a directory, below b.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		below, _ := filepath.Rel(dir, path)
		files["b/"+filepath.ToSlash(below)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if strings.HasSuffix(name, "/") { // a directory
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOutputThatCannotBeWritten runs commands whose standard output is closed. They must not
// succeed as if all had been printed.
func TestOutputThatCannotBeWritten(t *testing.T) {
	dir := home(t)
	writeFiles(t, dir, map[string]string{"good": "rule a allow 1\n    true\n\n> \nallowed\n", "Caddyfile": explained, "a.xml": "<project/>"})
	backup := newBackup(t, nil)
	closed, err := os.Open(filepath.Join(dir, "good")) // only for reading
	if err != nil {
		t.Fatal(err)
	}
	defer closed.Close()
	for _, tt := range []struct {
		args   string
		script []exchange
		status int
	}{
		{"digest -p test", nil, 1},
		{"import-jenkins {dir}/a.xml --out {dir}/out", nil, 1},
		{"restore {backup} --to {dir}/q/queue.db", nil, 1},
		{"restore {backup} --to {dir}/q/queue.db --move-aside", nil, 1},
		{"tokens --json --address {addr}", []exchange{{"GET /build_token/tokens", 200, `[]`}}, 1},
		{"prune --address {addr}", []exchange{{"POST /build_token/prune", 200, `[]`}}, 1},
		{"prune --dry-run --address {addr}", []exchange{{"GET /build_token/leftovers", 200, `[{}]`}}, 1},
		{"deliveries --address {addr}", []exchange{{"GET /build_token/deliveries", 200, `[]`}}, 1},
		{"deliveries --address {addr}", []exchange{{"GET /build_token/deliveries", 200, `[{}]`}}, 1},
		{"notifications --address {addr}", []exchange{{"GET /build_token/notifications", 200, `{}`}}, 1},
		{"notifications --address {addr}", []exchange{{"GET /build_token/notifications", 200, `{"targets":[{}]}`}}, 1},
		{"explain {dir}/Caddyfile --history --address {addr}", []exchange{{"GET /build_token/decisions", 200, `[]`}}, 2},
		{"explain {dir}/Caddyfile --history --json --address {addr}", []exchange{{"GET /build_token/decisions", 200, `[]`}}, 2},
		{"trigger a --wait 1m --address {addr}", []exchange{{triggerA, 201, queuedAnswer}, {statusA, 200, endedAs("SUCCESS")}}, 1},
		{"policy-test {dir}/good", nil, 1},
		{"check {dir}/Caddyfile", nil, 1},
		{"explain {dir}/Caddyfile site/deploy ENV=staging", nil, 2},
		{"explain {dir}/Caddyfile site/deploy ENV=staging --json", nil, 2},
		{"status --address {addr}", []exchange{{"GET /build_token/", 200, `{}`}}, 1},
		{"status --json --address {addr}", []exchange{{"GET /build_token/", 200, `{}`}}, 1},
		{"tokens --address {addr}", []exchange{{"GET /build_token/tokens", 200, `[]`}}, 1},
		{"log a --address {addr}", []exchange{{"GET /build_token/console?job=a", 200, "hello"}}, 2},
		{"trigger a --json --address {addr}", []exchange{{triggerA, 201, queuedAnswer}}, 1},
		{"notify test a --address {addr}", []exchange{{"POST /build_token/notifications/test?target=a", 200, `{"target":"a"}`}}, 1},
		{"notify test a --json --address {addr}", []exchange{{"POST /build_token/notifications/test?target=a", 200, `{"target":"a"}`}}, 1},
	} {
		t.Run(tt.args, func(t *testing.T) {
			args := strings.Fields(strings.NewReplacer("{dir}", dir, "{backup}", backup, "{addr}", serveScript(t, tt.script)).Replace(tt.args))
			err := runOn(os.Stdin, closed, os.Stderr, args...)
			if got := statusOf(err); got != tt.status || !strings.Contains(fmt.Sprint(err), "bad file descriptor") {
				t.Errorf("status %d, %v; want status %d and the error of the output", got, err, tt.status)
			}
		})
	}
}

// The end of the line is no part of a token that is read from standard input.
func TestDigestOfALine(t *testing.T) {
	want := run(t, "digest", "-p", "test")
	for _, input := range []string{"test", "test\n", "test\r\n", "test\nmore\n"} {
		if got := runWith(t, input, "digest"); got != want || got.Status != 0 {
			t.Errorf("digest of %q: %+v, want %+v", input, got, want)
		}
	}
}

// A standard input that cannot be read is no empty token.
func TestInputThatCannotBeRead(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	err = runOn(dir, os.Stdout, os.Stderr, "digest")
	if got := statusOf(err); got != 1 || !strings.Contains(fmt.Sprint(err), "read the token: ") || !strings.Contains(fmt.Sprint(err), "is a directory") {
		t.Errorf("status %d, %v; want status 1 and the error of the input", got, err)
	}
}

// TestImportedFilesAreNotForEverybody checks who may read the files of an import: a token only
// their owner, and scripts the group of the owner too.
func TestImportedFilesAreNotForEverybody(t *testing.T) {
	dir := home(t)
	writeFiles(t, dir, map[string]string{"a.xml": "<project><authToken>Token-of-Jenkins</authToken></project>"})
	if got := run(t, "import-jenkins", filepath.Join(dir, "a.xml"), "--tokens", "file", "--out", filepath.Join(dir, "out")); got.Status != 0 {
		t.Fatalf("import: %+v", got)
	}
	secrets := 0
	err := filepath.WalkDir(filepath.Join(dir, "out"), func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm()
		if mode&0o007 != 0 || mode&0o600 != 0o600 {
			t.Errorf("%s has mode %04o", path, mode)
		}
		if entry.IsDir() {
			return nil
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), "Token-of-Jenkins") {
			if secrets++; mode != 0o600 {
				t.Errorf("%s has a token, and mode %04o", path, mode)
			}
		}
		return err
	})
	if err != nil || secrets != 1 {
		t.Errorf("%d files have the token, %v; want one", secrets, err)
	}
}
