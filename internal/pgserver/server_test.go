package pgserver_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/buildtoken/buildtoken/internal/pgserver"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

func TestServerThatDiesRunsAgainWithWhatWasCommitted(t *testing.T) {
	server := pgtest.Start(t)
	for i, die := range []func() error{server.Kill, server.Crash, server.Kill} {
		conn := connect(t, server)
		if i == 0 {
			do(t, conn, "create table seen (times int)")
		}
		do(t, conn, "insert into seen values (1)")
		if err := die(); err != nil {
			t.Fatal(err)
		}
		if err := conn.Ping(t.Context()); err == nil {
			t.Error("a connection to a server that died still works")
		}
		if err := server.Run(); err != nil {
			t.Fatal(err)
		}
		var rows int
		if err := connect(t, server).QueryRow(t.Context(), "select count(*) from seen").Scan(&rows); err != nil || rows != i+1 {
			t.Errorf("%d rows are left, %v; want %d", rows, err, i+1)
		}
	}
}

func TestStandbyTakesOverWithWhatWasCommitted(t *testing.T) {
	first := pgtest.Start(t)
	stop := func(server *pgserver.Server) {
		t.Cleanup(func() {
			if err := server.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	do(t, connect(t, first), "create table seen (times int)")
	for i, primary := 1, first; i <= 2; i++ {
		standby, err := primary.Standby()
		if err != nil {
			t.Fatal(err)
		}
		stop(standby)
		do(t, connect(t, primary), "insert into seen values (1)")
		if err := primary.Kill(); err != nil {
			t.Fatal(err)
		}
		if _, err := connect(t, standby).Exec(t.Context(), "insert into seen values (0)"); err == nil {
			t.Error("a standby takes writes")
		}
		if err := standby.Promote(); err != nil {
			t.Fatal(err)
		}
		conn := connect(t, standby)
		do(t, conn, "insert into seen values (1)")
		var rows int
		if err := conn.QueryRow(t.Context(), "select count(*) from seen").Scan(&rows); err != nil || rows != 2*i {
			t.Errorf("%d rows are there, %v; want %d", rows, err, 2*i)
		}
		primary = standby
	}
}

func connect(t *testing.T, server *pgserver.Server) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // the test is over
	return conn
}

func do(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}
