package audit_test

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/buildtoken/buildtoken/buildtoken/audit"
)

func decision() audit.Decision {
	return audit.Decision{Outcome: audit.Joined, Action: "buildWithParameters", Job: "site/deploy", Who: "token ci", Remote: "192.0.2.7", Item: 4711}
}

// BenchmarkWrite measures one line: into nothing, as JSON into memory, and into a file.
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

// A line that is written into a file allocates nothing, so that the log costs little more than
// the call of the operating system. Under the race detector, the pool of zap's encoders is
// sometimes empty, which is one allocation.
func TestWriteAllocatesNothing(t *testing.T) {
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(discard{}), zap.InfoLevel))
	d := decision()
	if n := testing.AllocsPerRun(1000, func() { audit.Write(log, d) }); n >= 2 {
		t.Errorf("Write allocates %v times", n)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
