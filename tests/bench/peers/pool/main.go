// The worker pool of one Go process: a channel of jobs, goroutines, a channel of results. Payloads
// and results are those of drivers/payload.h, each in memory of its own; every result is checked.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"
)

const (
	numberBytes = 16
	textStarts  = 64
	factor      = 0x9E3779B97F4A7C15
	digits      = "0123456789abcdef"
)

var pairs = func() (out [512]byte) {
	for i := 0; i < 256; i++ {
		out[2*i], out[2*i+1] = digits[i>>4], digits[i&15]
	}
	return
}()

func writeNumber(number uint64, out []byte) {
	for i := 7; i >= 0; i-- {
		at := 2 * (number & 255)
		out[2*i], out[2*i+1] = pairs[at], pairs[at+1]
		number >>= 8
	}
}

func readNumber(in []byte) (number uint64) {
	for _, c := range in[:numberBytes] {
		number = number<<4 | uint64(c&15+c>>6*9)
	}
	return
}

func unscramble(scrambled uint64) uint64 {
	inverse := uint64(factor)
	for i := 0; i < 6; i++ {
		inverse *= 2 - factor*inverse
	}
	return scrambled * inverse
}

func fail(what string) {
	fmt.Fprintln(os.Stderr, "bench: "+what)
	os.Exit(1)
}

func worker(jobs <-chan []byte, results chan<- []byte) {
	for payload := range jobs {
		result := make([]byte, len(payload))
		copy(result, payload)
		writeNumber(readNumber(payload)*factor, result)
		results <- result
	}
}

func main() {
	seconds := flag.Float64("seconds", 5, "how long jobs are submitted")
	size := flag.Int("payload", 100, "bytes of a payload, at least 16")
	workers := flag.Int("workers", 2, "goroutines")
	buffer := flag.Int("buffer", 1000, "of each channel")
	flag.Parse()

	text := make([]byte, *size+textStarts)
	for i := range text {
		text[i] = byte('!' + i*7%89)
	}
	textOf := func(number uint64) []byte {
		start := int(number % textStarts)
		return text[start : start+*size-numberBytes]
	}

	jobs := make(chan []byte, *buffer)
	results := make(chan []byte, *buffer)
	var running sync.WaitGroup
	running.Add(*workers)
	for i := 0; i < *workers; i++ {
		go func() {
			worker(jobs, results)
			running.Done()
		}()
	}
	go func() {
		running.Wait()
		close(results)
	}()
	begin := time.Now()
	submitted := make(chan uint64, 1)
	go func() {
		end := begin.Add(time.Duration(*seconds * 1e9))
		number := uint64(0)
		for ; number%1024 != 0 || time.Now().Before(end); number++ {
			payload := make([]byte, *size)
			writeNumber(number, payload)
			copy(payload[numberBytes:], textOf(number))
			jobs <- payload
		}
		close(jobs)
		submitted <- number
	}()

	inverse := unscramble(1)
	seen := make([]uint64, 1<<24)
	settled := uint64(0)
	for result := range results {
		number := readNumber(result) * inverse
		word, bit := number/64, uint64(1)<<(number%64)
		if word >= uint64(len(seen)) || seen[word]&bit != 0 {
			fail("a result of no job, or a second one")
		}
		if len(result) != *size || !bytes.Equal(result[numberBytes:], textOf(number)) {
			fail("a wrong result")
		}
		seen[word] |= bit
		settled++
	}
	if settled != <-submitted {
		fail("results are missing")
	}
	fmt.Printf("{\"jobs\": %d, \"seconds\": %.6f}\n", settled, time.Since(begin).Seconds())
}
