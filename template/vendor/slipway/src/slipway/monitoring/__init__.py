"""Does what is asked, answered and observed still agree with what the model learned?"""
