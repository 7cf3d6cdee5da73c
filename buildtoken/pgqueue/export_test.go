package pgqueue

import (
	"context"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

// Migrate brings the tables of a schema to the version of these steps.
func Migrate(ctx context.Context, conn *pgx.Conn, schema string, steps fs.FS) error {
	return migrate(ctx, conn, newNames(schema), schema, steps)
}

// Migrations are the steps of this program.
func Migrations() fs.FS { return migrations }

// CompareClocks does twice what a heartbeat does with the database's time.
func CompareClocks(log *zap.Logger, database, sent, received time.Time) time.Duration {
	var q DB
	for range 2 {
		q.clock.compare(database, sent, received, log)
	}
	return q.ClockOffset()
}
