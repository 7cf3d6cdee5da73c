package pgqueue_test

import (
	"os"
	"testing"

	"github.com/buildtoken/buildtoken/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
