package audit_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/audit"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
)

func decision() audit.Decision {
	return audit.Decision{Outcome: audit.Joined, Action: "buildWithParameters", Job: "site/deploy", Who: "token ci", Remote: "192.0.2.7", Item: 4711}
}

// BenchmarkWrite measures one line: discarded, as JSON in memory, and in a file.
func BenchmarkWrite(b *testing.B) {
	file, err := os.Create(filepath.Join(b.TempDir(), "audit.log"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	for _, bm := range []struct {
		name string
		log  *zap.Logger
	}{
		{"off", nil},
		{"discarded", zap.New(zapcore.NewCore(encoder, zapcore.AddSync(discard{}), zap.InfoLevel))},
		{"file", zap.New(zapcore.NewCore(encoder, zapcore.Lock(file), zap.InfoLevel))},
	} {
		b.Run(bm.name, func(b *testing.B) {
			d := decision()
			b.ReportAllocs()
			for b.Loop() {
				audit.Write(bm.log, d)
			}
		})
	}
	b.Run("write(2) alone", func(b *testing.B) {
		line := make([]byte, 200)
		for b.Loop() {
			if _, err := file.Write(line); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Writing a line to a file allocates nothing, so that the log costs little more than the system
// call. Under the race detector, the pool of zap's encoders is sometimes empty, which is one
// allocation ([underRace]).
func TestWriteAllocatesNothing(t *testing.T) {
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(discard{}), zap.InfoLevel))
	d := decision()
	if n := testing.AllocsPerRun(1000, func() { audit.Write(log, d) }); n > underRace {
		t.Errorf("Write allocates %v times", n)
	}
}

// A line has what is known, and a rule that denied is named as the rule.
func TestLinesHaveWhatIsKnown(t *testing.T) {
	denied := fmt.Errorf("trigger: %w", &policy.Denied{Rule: policy.Rule{Name: "site allow 1"}})
	with := func(change func(*audit.Decision)) audit.Decision {
		d := decision()
		change(&d)
		return d
	}
	for _, tt := range []struct {
		name string
		d    audit.Decision
		want string
	}{
		{"an item", decision(), "joined action=buildWithParameters job=site/deploy who=token ci remote=192.0.2.7 item=4711"},
		{"a build", with(func(d *audit.Decision) { d.Outcome, d.Item, d.Build = audit.Stopped, 0, 7 }), "stopped action=buildWithParameters job=site/deploy who=token ci remote=192.0.2.7 number=7"},
		{"a rule that let a user in", with(func(d *audit.Decision) { d.Rule = "access build" }), "joined action=buildWithParameters job=site/deploy who=token ci remote=192.0.2.7 item=4711 rule=access build"},
		{"a reason", with(func(d *audit.Decision) { d.Item, d.Err = 0, errors.New("no such job") }), "joined action=buildWithParameters job=site/deploy who=token ci remote=192.0.2.7 reason=no such job"},
		{"a rule that denied", with(func(d *audit.Decision) { d.Item, d.Rule, d.Err = 0, "access build", denied }), "joined action=buildWithParameters job=site/deploy who=token ci remote=192.0.2.7 rule=site allow 1 reason=" + denied.Error()},
		{"names that are no line", with(func(d *audit.Decision) { d.Who, d.Item = "token a\nb"+strings.Repeat("x", 300), 0 }), "joined action=buildWithParameters job=site/deploy who=token a b" + strings.Repeat("x", 191) + " remote=192.0.2.7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			core, logs := observer.New(zap.InfoLevel)
			audit.Write(zap.New(core), tt.d)
			entry := logs.All()[0]
			got := entry.Message
			for _, f := range entry.Context {
				got += " " + f.Key + "=" + fmt.Sprint(entry.ContextMap()[f.Key])
			}
			if got != tt.want || entry.Level != zap.InfoLevel {
				t.Errorf("Write =\n%s, want\n%s", got, tt.want)
			}
		})
	}
	audit.Write(nil, decision())
	core, logs := observer.New(zap.ErrorLevel)
	if audit.Write(zap.New(core), decision()); logs.Len() > 0 {
		t.Errorf("a logger for errors gets %v", logs.All())
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
