"""25 sentences in order: all 16 of 4 beginnings and 4 endings, the first 9 again, after replacing."""

beginnings = ["The quick brown fox", "Go concurrency", "Hello, world!", "Once upon a time,"]
endings = ["jumps over the lazy dog.", "is an open-source programming language.",
           "is not parallelism.", "keep calm and code on."]
sentences = [f"{beginning} {ending}" for beginning in beginnings for ending in endings]
for sentence in sentences + sentences[:9]:
    print(sentence.translate(str.maketrans("oi at", "01~47")))
