package pgqueue

import (
	"slices"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// receipts are those that triggers of one transaction are about.
type receipts struct {
	// of are the receipts by job and key, nil where there is none.
	of map[receiptKey]*queue.Receipt
	// oldest are, of each job, those that are over first.
	oldest map[string][]queue.Receipt
	// touched are those that are to be written, or removed.
	touched map[receiptKey]bool
}

type receiptKey struct {
	job string
	key queue.Digest
}

func newReceipts() *receipts {
	return &receipts{of: map[receiptKey]*queue.Receipt{}, oldest: map[string][]queue.Receipt{}, touched: map[receiptKey]bool{}}
}

// find queues the statements that read what triggers with keys need. Of a
// record that can't be read there is none: the trigger is worth more than the
// proof that it is the first.
func (s *receipts) find(b *pgx.Batch, batch []*request, log *zap.Logger) {
	var jobs []string
	var keys [][]byte
	most := map[string]int{} // how many receipts of a job may be dropped
	for _, r := range batch {
		if r.Key != nil {
			jobs, keys = append(jobs, r.Job), append(keys, r.Key[:])
			most[r.Job] += queue.MaxForget
		}
	}
	if len(jobs) == 0 {
		return
	}
	read := func(take func(job string, r queue.Receipt)) func(pgx.Rows) error {
		return func(rows pgx.Rows) error {
			var job, body string
			return forEach(rows, []any{&job, &body}, func() error {
				r, err := decode[queue.Receipt](body, "receipt")
				if err != nil {
					log.Error("receipt of a trigger can't be read; the trigger counts as a new one", zap.String("job", job), zap.Error(err))
					return nil
				}
				take(job, r)
				return nil
			})
		}
	}
	b.Queue(`select r.job, r.body::text from unnest($1::text[], $2::bytea[]) k(job, key) cross join lateral
		(select job, body from queue.receipts where job = k.job and key = k.key) r`, jobs, keys).Query(read(func(job string, r queue.Receipt) {
		s.of[receiptKey{job, r.Key}] = &r
	}))
	for job, limit := range most {
		b.Queue("select job, body::text from queue.receipts where job = $1 order by until limit $2", job, limit).Query(read(func(job string, r queue.Receipt) {
			s.oldest[job] = append(s.oldest[job], r)
		}))
	}
}

// schedule is the decision about a trigger.
func (s *receipts) schedule(r *request, l queue.Lane, equal *queue.Item, room queue.Room) (queue.Change, error) {
	if r.Key == nil {
		return queue.Schedule(r.now, l, equal, r.Request, room)
	}
	oldest := s.oldest[r.Job]
	change, err := queue.ScheduleOnce(r.now, l, equal, r.Request, room, s.of[receiptKey{r.Job, *r.Key}], oldest[:min(len(oldest), queue.MaxForget)])
	if err != nil {
		return change, err
	}
	for _, old := range change.Forget {
		s.set(r.Job, old.Key, nil)
	}
	s.set(r.Job, change.Receipt.Key, change.Receipt)
	return change, nil
}

func (s *receipts) set(job string, key queue.Digest, r *queue.Receipt) {
	at := receiptKey{job, key}
	s.of[at] = r
	s.touched[at] = true
	s.oldest[job] = slices.DeleteFunc(s.oldest[job], func(old queue.Receipt) bool { return old.Key == key })
}

// write queues what has changed, besides the changes of lanes.
func (s *receipts) write(b *pgx.Batch, l *locked) {
	if len(s.touched) == 0 {
		return
	}
	var gone, jobs, bodies []string
	var goneKeys, keys [][]byte
	var untils []int64
	for at := range s.touched {
		r := s.of[at]
		if r == nil {
			gone, goneKeys = append(gone, at.job), append(goneKeys, at.key[:])
			continue
		}
		jobs, keys, untils, bodies = append(jobs, at.job), append(keys, at.key[:]), append(untils, r.Until.UnixNano()), append(bodies, l.encode(r))
	}
	if len(gone) > 0 {
		b.Queue(`delete from queue.receipts using unnest($1::text[], $2::bytea[]) k(job, key)
			where receipts.job = k.job and receipts.key = k.key`, gone, goneKeys)
	}
	if len(jobs) > 0 {
		b.Queue(`insert into queue.receipts (job, key, until, body)
			select job, key, until, body::json from unnest($1::text[], $2::bytea[], $3::bigint[], $4::text[]) k(job, key, until, body)
			on conflict (job, key) do update set until = excluded.until, body = excluded.body`, jobs, keys, untils, bodies)
	}
}
