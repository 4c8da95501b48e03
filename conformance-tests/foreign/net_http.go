// The conformance application on Go's net/http. See spec/APPLICATION.md.
//
//	go run conformance-tests/foreign/net_http.go 127.0.0.1:8000
//	conformance run --external 127.0.0.1:8000
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	prefix   = "X-Conformance-"
	recorded = 512
)

// encode makes a word of octets.
func encode(octets string) string {
	var word strings.Builder
	for _, octet := range []byte(octets) {
		if octet > 0x20 && octet < 0x7f && octet != '%' && octet != ';' {
			word.WriteByte(octet)
		} else {
			fmt.Fprintf(&word, "%%%02X", octet)
		}
	}
	return word.String()
}

// decode makes octets of a word.
func decode(word string) string {
	var octets strings.Builder
	for len(word) > 0 {
		if word[0] == '%' && len(word) > 2 {
			if value, err := strconv.ParseUint(word[1:3], 16, 8); err == nil {
				octets.WriteByte(byte(value))
				word = word[3:]
				continue
			}
		}
		octets.WriteByte(word[0])
		word = word[1:]
	}
	return octets.String()
}

func number(word string) int {
	value, _ := strconv.Atoi(word)
	return value
}

func milliseconds(word string) time.Duration { return time.Duration(number(word)) * time.Millisecond }

func pattern(length int) []byte {
	octets := make([]byte, length+3)
	for index := 0; index*4 < length; index++ {
		binary.LittleEndian.PutUint32(octets[index*4:], uint32(index)*0x9e3779b1)
	}
	return octets[:length]
}

// record is all there is under one token. Its lock is that of all.
type record struct {
	calls   int
	events  []string
	gates   map[string]bool
	ended   bool
	changed chan struct{}
}

var (
	lock    sync.Mutex
	records = map[string]*record{}
)

// of gives the record of a token, under the lock.
func of(token string) *record {
	if records[token] == nil {
		records[token] = &record{gates: map[string]bool{}, changed: make(chan struct{})}
	}
	return records[token]
}

// change does something to a record and wakes who waits for that.
func change(token string, do func(*record)) {
	lock.Lock()
	defer lock.Unlock()
	record := of(token)
	do(record)
	close(record.changed)
	record.changed = make(chan struct{})
}

// until waits for a record to be so; false where the context ends first.
func until(ctx context.Context, token string, reached func(*record) bool) bool {
	for {
		lock.Lock()
		record := of(token)
		done, changed := record.ended || reached(record), record.changed
		lock.Unlock()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

func (record *record) count(prefix string) int {
	count := 0
	for _, event := range record.events {
		text := strings.SplitN(event, "\t", 3)[2]
		if text == prefix || strings.HasPrefix(text, prefix+" ") {
			count++
		}
	}
	return count
}

// call is one request, and the response that a script puts together.
type call struct {
	request  *http.Request
	response http.ResponseWriter
	token    string
	number   int
	status   int
	length   int
	body     func()
	trailers []string
	returned chan struct{}
}

func (c *call) tell(texts ...string) {
	change(c.token, func(record *record) {
		for _, text := range texts {
			if !record.ended {
				record.events = append(record.events, fmt.Sprintf("%d\tgoroutine of call %d\t%s", c.number, c.number, text))
			}
		}
	})
}

func (c *call) gate(name string) {
	c.tell("at " + name)
	until(context.Background(), c.token, func(record *record) bool { return record.gates[name] })
}

// pending waits for the end of the case.
func (c *call) pending() {
	until(context.Background(), c.token, func(*record) bool { return false })
}

// take reads pieces until `wanted` octets came, or to the end where that is negative.
func (c *call) take(wanted int) {
	length, sum, first := 0, uint32(0), []byte{}
	buffer := make([]byte, 64*1024)
	data := func() string { return "read-data " + encode(string(first)) }
	for wanted < 0 || length < wanted {
		count, err := c.request.Body.Read(buffer)
		sum = crc32.Update(sum, crc32.IEEETable, buffer[:count])
		if room := recorded - len(first); room > 0 && count > 0 {
			first = append(first, buffer[:min(room, count)]...)
		}
		length += count
		switch {
		case err == io.EOF:
			c.tell(data(), fmt.Sprintf("read-end %d %08x", length, sum))
			for name, values := range c.request.Trailer {
				for _, value := range values {
					c.tell("trailer " + strings.ToLower(name) + " " + encode(value))
				}
			}
			return
		case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed):
			c.tell(data(), "read-error disconnected")
			return
		case err != nil:
			kind := "malformed"
			var network net.Error
			if errors.As(err, &network) {
				kind = "disconnected"
			}
			c.tell(data(), "read-error "+kind)
			return
		}
	}
	c.tell(data(), fmt.Sprintf("chunk %d", length))
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

// write gives one piece to the server and has it sent.
func (c *call) write(octets []byte) error {
	_, err := c.response.Write(octets)
	c.response.(http.Flusher).Flush()
	return err
}

// item does one item of a body; an error of it is the client's being gone, or nobody's asking any more.
func (c *call) item(asked *int, word string) error {
	kind, rest, _ := strings.Cut(word, ":")
	yield := func(octets []byte) error {
		err := c.write(octets)
		*asked++
		c.tell(fmt.Sprintf("asked %d", *asked))
		return err
	}
	switch kind {
	case "text":
		return yield([]byte(decode(rest)))
	case "size":
		return yield(pattern(number(rest)))
	case "empty":
		return yield(nil)
	case "gate":
		c.gate(rest)
	case "sleep":
		time.Sleep(milliseconds(rest))
	case "pending":
		c.pending()
	case "times":
		count, item, _ := strings.Cut(rest, ":")
		for left := number(count); left > 0; left-- {
			if err := c.item(asked, item); err != nil {
				return err
			}
		}
	case "forever":
		for {
			if err := c.item(asked, rest); err != nil {
				return err
			}
		}
	default:
		// All that net/http has for a body that fails.
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (c *call) items(words []string) func() {
	c.length = -1
	return func() {
		// So that a first item that is long in coming does not keep the head back.
		c.response.(http.Flusher).Flush()
		asked := 0
		c.tell("asked 0")
		for _, word := range words {
			if c.item(&asked, word) != nil {
				c.tell("send-error")
				return
			}
		}
		c.tell("body-end")
	}
}

func (c *call) whole(octets []byte) func() {
	c.length = len(octets)
	return func() { c.response.Write(octets) }
}

// steps is what this application knows.
var steps = map[string]func(*call, []string){
	"bare":         func(*call, []string) {},
	"blocking":     func(c *call, _ []string) { c.tell("blocking") },
	"read":         func(c *call, _ []string) { c.take(-1) },
	"chunk":        func(c *call, _ []string) { c.take(1) },
	"chunks":       func(c *call, words []string) { c.take(number(words[0])) },
	"drop-request": func(c *call, _ []string) { c.request.Body.Close() },
	"length": func(c *call, _ []string) {
		if c.request.ContentLength < 0 {
			c.tell("length unknown")
		} else {
			c.tell(fmt.Sprintf("length %d", c.request.ContentLength))
		}
	},
	"gate":    func(c *call, words []string) { c.gate(words[0]) },
	"pending": func(c *call, _ []string) { c.pending() },
	"sleep": func(c *call, words []string) {
		started := time.Now()
		time.Sleep(milliseconds(words[0]))
		c.tell(fmt.Sprintf("slept %d", time.Since(started).Milliseconds()))
	},
	"busy": func(c *call, words []string) {
		c.tell("busy")
		for until := time.Now().Add(milliseconds(words[0])); time.Now().Before(until); {
		}
		c.tell("idle")
	},
	"record": func(c *call, words []string) { c.tell(decode(words[0])) },
	"threads": func(c *call, _ []string) {
		entries, _ := os.ReadDir("/proc/self/task")
		c.tell(fmt.Sprintf("threads %d", len(entries)))
	},
	"disconnected": func(c *call, _ []string) {
		<-c.request.Context().Done()
		c.tell("disconnected")
	},
	"disconnected?": func(c *call, _ []string) { c.tell(fmt.Sprintf("flag %t", c.request.Context().Err() != nil)) },
	"until-disconnected": func(c *call, _ []string) {
		<-c.request.Context().Done()
		c.tell("flag true")
	},
	"watch": func(c *call, _ []string) {
		if c.request.Context().Err() != nil {
			c.tell("saw-disconnect true", "saw-disconnect true")
			return
		}
		go func() {
			<-c.request.Context().Done()
			// The context ends with the call, too.
			select {
			case <-c.returned:
			default:
				c.tell("saw-disconnect true", "saw-disconnect true")
			}
		}()
	},
	"status":  func(c *call, words []string) { c.status = number(words[0]) },
	"header":  func(c *call, words []string) { c.response.Header().Add(decode(words[0]), decode(words[1])) },
	"body":    func(c *call, words []string) { c.body = c.whole([]byte(decode(strings.Join(words, "")))) },
	"size":    func(c *call, words []string) { c.body = c.whole(pattern(number(words[0]))) },
	"stream":  func(c *call, words []string) { c.body = c.items(words) },
	"iter":    func(c *call, words []string) { c.body = c.items(words) },
	"channel": func(c *call, words []string) { c.body = c.items(words[2:]) },
	"echo": func(c *call, _ []string) {
		c.length = -1
		c.body = func() { io.Copy(c.response, c.request.Body) }
	},
	"trailers": func(c *call, words []string) {
		c.trailers = words
		for at := 0; at < len(words); at += 2 {
			c.response.Header().Add("Trailer", words[at])
		}
	},
	// There is no `error`: a handler of net/http has none to return.
	"panic": func(_ *call, words []string) { panic(strings.Join(words, " ")) },
}

func about() string {
	lines := []string{"contract 1", "server " + name(), "version " + runtime.Version()}
	for _, capability := range []string{"asynchronous", "multithread", "panic-unwind", "trailers"} {
		lines = append(lines, "capability "+capability+" true")
	}
	for step := range steps {
		lines = append(lines, "step "+step)
	}
	for _, item := range strings.Fields("text size empty gate sleep pending error panic times forever") {
		lines = append(lines, "step item:"+item)
	}
	for _, fact := range []string{"scheme", "peer", "local"} {
		lines = append(lines, "fact "+fact)
	}
	return strings.Join(append(lines, "event handler-returned", "event send-error", "event trailer", ""), "\n")
}

func name() string {
	if name := os.Getenv("CONFORMANCE_SERVER"); name != "" {
		return name
	}
	return "go"
}

func report(token string) string {
	lock.Lock()
	defer lock.Unlock()
	return strings.Join(append(of(token).events, ""), "\n")
}

// control answers a control request; false to one that nobody knows.
func control(what string) (string, bool) {
	words := append(strings.Fields(what), "", "", "", "")
	token := words[1]
	switch words[0] {
	case "about":
		return about(), true
	case "report":
		return report(token), true
	case "wait":
		ctx, cancel := context.WithTimeout(context.Background(), milliseconds(words[4]))
		defer cancel()
		prefix := decode(words[3])
		until(ctx, token, func(record *record) bool { return record.count(prefix) >= number(words[2]) })
		return report(token), true
	case "open":
		change(token, func(record *record) { record.gates[words[2]] = true })
		return "", true
	case "end":
		for _, token := range strings.Fields(what)[1:] {
			change(token, func(record *record) { record.ended, record.events = true, nil })
		}
		return "", true
	}
	return "", words[0] == "violations"
}

// told is the events of a call.
func told(request *http.Request) []string {
	target := request.RequestURI
	path, query, asked := strings.Cut(target, "?")
	if _, rest, absolute := strings.Cut(path, "://"); absolute {
		_, below, _ := strings.Cut(rest, "/")
		path = "/" + below
	}
	texts := []string{"call " + request.Method + " " + encode(target) + " " + request.Proto, "path " + encode(path)}
	if asked {
		texts = append(texts, "query "+encode(query))
	}
	// net/http keeps Host apart, and takes the fields of the framing away.
	if request.Host != "" {
		texts = append(texts, "header host "+encode(request.Host))
	}
	for name, values := range request.Header {
		for _, value := range values {
			texts = append(texts, "header "+encode(strings.ToLower(name))+" "+encode(value))
		}
	}
	local, _ := request.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return append(texts, "env scheme http", "env peer "+request.RemoteAddr, "env local "+local.String())
}

func serve(response http.ResponseWriter, request *http.Request) {
	if what := request.Header.Get(prefix + "Control"); what != "" {
		answer, known := control(what)
		if !known {
			response.WriteHeader(http.StatusNotImplemented)
		}
		io.WriteString(response, answer)
		return
	}
	c := &call{request: request, response: response, token: request.Header.Get(prefix + "Token"), status: 200}
	c.body, c.returned = func() {}, make(chan struct{})
	defer close(c.returned)
	change(c.token, func(record *record) { c.number = record.calls; record.calls++ })
	c.tell(told(request)...)
	response.Header().Set(prefix+"Application", "1")
	// Errors and panics are answered by the server.
	mark := func(failed any) {
		response.Header().Del(prefix + "Application")
		panic(failed)
	}
	for _, step := range strings.Split(request.Header.Get(prefix+"Do"), ";") {
		words := strings.Fields(step)
		if len(words) == 0 {
			continue
		}
		do := steps[words[0]]
		if do == nil {
			response.WriteHeader(http.StatusNotImplemented)
			return
		}
		func() {
			defer func() {
				if failed := recover(); failed != nil {
					mark(failed)
				}
			}()
			do(c, words[1:])
		}()
	}
	c.tell("handler-returned")
	named := response.Header().Get("Content-Length") != ""
	if c.length >= 0 && len(c.trailers) == 0 && !named && c.status >= 200 && c.status != 204 && c.status != 304 {
		response.Header().Set("Content-Length", strconv.Itoa(c.length))
	}
	response.WriteHeader(c.status)
	c.body()
	for at := 0; at+1 < len(c.trailers); at += 2 {
		response.Header().Set(c.trailers[at], decode(c.trailers[at+1]))
	}
}

func main() {
	// What panics say is asked for.
	server := &http.Server{Addr: "127.0.0.1:8000", Handler: http.HandlerFunc(serve), ErrorLog: log.New(io.Discard, "", 0)}
	if len(os.Args) > 1 {
		server.Addr = os.Args[1]
	}
	log.Fatal(server.ListenAndServe())
}
