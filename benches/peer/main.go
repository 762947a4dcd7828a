// What a user would write instead: robfig/cron, each job of which claims its time in SQLite, inserts one row and records
// the end. Usage: peer <folder> <jobs>
package main

import (
	"database/sql"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	_ "github.com/mattn/go-sqlite3"
	"github.com/robfig/cron"
)

func open(path string) *sql.DB {
	db, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=WAL&_synchronous=NORMAL&_busy_timeout=5000")
	check(err)
	db.SetMaxOpenConns(1)
	return db
}

func prepare(db *sql.DB, text string) *sql.Stmt {
	statement, err := db.Prepare(text)
	check(err)
	return statement
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	folder := os.Args[1]
	jobs, err := strconv.Atoi(os.Args[2])
	check(err)
	state, app := open(folder+"/state.db"), open(folder+"/data/backups.db")
	_, err = state.Exec("CREATE TABLE runs (job TEXT, due INTEGER, ended INTEGER, UNIQUE (job, due))")
	check(err)
	claim := prepare(state, "INSERT INTO runs (job, due) VALUES (?, ?) ON CONFLICT DO NOTHING")
	end := prepare(state, "UPDATE runs SET ended = ? WHERE job = ? AND due = ?")
	work := prepare(app, "INSERT INTO witness VALUES (?, ?, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))")
	scheduler := cron.New(cron.WithSeconds())
	for n := 0; n < jobs; n++ {
		id := fmt.Sprintf("job-%d", n)
		scheduler.AddFunc("* * * * * *", func() {
			due := time.Now().Truncate(time.Second).UnixMilli()
			claimed, err := claim.Exec(id, due)
			check(err)
			if rows, _ := claimed.RowsAffected(); rows == 0 {
				return
			}
			_, err = work.Exec(id, due)
			check(err)
			_, err = end.Exec(time.Now().UnixMilli(), id, due)
			check(err)
		})
	}
	scheduler.Start()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	<-ended
}
