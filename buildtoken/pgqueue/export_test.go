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

// Clock is what is known of the difference between two clocks.
type Clock struct{ q DB }

// Compare does what a heartbeat does with the database's time, and returns the difference.
func (c *Clock) Compare(log *zap.Logger, database, sent, received time.Time) time.Duration {
	c.q.clock.compare(database, sent, received, log)
	return c.q.ClockOffset()
}
